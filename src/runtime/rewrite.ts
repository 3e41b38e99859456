/** @file Changes a graph: some operators are replaced, and whatever reads their results reads the replacements. */
import { schedule } from '../graph/onnx/export.js';
import type { Graph } from '../graph/onnx/export.js';
import { applyMany, resolve } from '../graph/tensor.js';
import type { Node, Tensor } from '../graph/tensor.js';

/** What stands for the operator's outputs, given its inputs as they are now; null to keep the operator. */
export type Replacement = (node: Node, inputs: readonly (Tensor | null)[]) => readonly Tensor[] | null;

/** The graph after replacement. It computes, but does not differentiate: copied operators have no gradients. */
export function rewrite<G extends Graph>(graph: G, replace: Replacement): G {
  const now = new Map<Tensor, Tensor>();
  const current = (t: Tensor): Tensor => now.get(resolve(t)) ?? resolve(t);
  for (const node of schedule([...Object.values(graph.outputs), ...(graph.inputs ?? [])])) {
    const inputs = node.inputs.map((t) => t && current(t));
    const same = node.inputs.every((t, i) => t === null || resolve(t) === inputs[i]);
    const made = replace(node, inputs) ?? (same ? node.outputs : applyMany({ ...node, inputs, vjps: [] }, node.outputs));
    node.outputs.forEach((t, i) => now.set(t, made[i]!));
  }
  const outputs = Object.fromEntries(Object.entries(graph.outputs).map(([name, t]) => [name, current(t)]));
  return { ...graph, outputs };
}
