/** @file What an operator of a graph is called in reports. */
import { schedule, valueName } from '../graph/onnx/export.js';
import type { Graph } from '../graph/onnx/export.js';
import { resolve } from '../graph/tensor.js';
import type { Node } from '../graph/tensor.js';

/** Names of the inputs that an operator reads, directly or through a reshape or transpose. */
function inputNames(node: Node): string[] {
  const through = new Set(['Reshape', 'Transpose', 'Cast']);
  return node.inputs.flatMap((t) => {
    if (!t) return [];
    let from = resolve(t).node;
    while (through.has(from.op)) from = resolve(from.inputs[0]!).node;
    return from.op === '@input' ? [from.name!] : [];
  });
}

/** `Conv_48 (down_blocks.0.resnets.0.conv1.weight)`: the operator's name in the ONNX file and the inputs it reads. */
export function labelOf(node: Node): string {
  const names = inputNames(node);
  return valueName(node.outputs[0]!) + (names.length > 0 ? ` (${names.join(', ')})` : '');
}

/** Operators of a graph by their name in the ONNX file. */
export function nodesByName(graph: Graph): Map<string, Node> {
  return new Map(schedule(Object.values(graph.outputs)).map((node) => [valueName(node.outputs[0]!), node]));
}
