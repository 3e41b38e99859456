/**
 * @file Frozen weights that lie in memory in half precision: read as they lie, and widened at each use, so that only what
 * the next operators need exists in float32.
 */
import { frozenNodes, lookup } from './frozen.js';
import type { Weights } from './frozen.js';
import { rewrite } from './rewrite.js';
import type { HostTensor } from '../graph/dtype.js';
import type { Graph } from '../graph/onnx/export.js';
import { add, cast, less } from '../graph/ops/arithmetic.js';
import { reshape, slice } from '../graph/ops/layout.js';
import { apply, applyMany, literal, resolve, weight } from '../graph/tensor.js';
import type { Node, Tensor } from '../graph/tensor.js';

/** A weight that is computed with as float32 and may lie in half precision; true for what its array is then. */
export const isStored = ({ node, dtype }: Tensor, value: HostTensor): boolean =>
  node.frozen === true && dtype === 'float32' && (value.dtype === 'float16' || value.dtype === 'bfloat16');

/** The integer 0 [1], which nobody can know before x is there; not x·0, which is no number where x is none. */
function zeroAfter(x: Tensor): Tensor {
  const first = reshape(slice(x, x.shape.map(() => 0), x.shape.map(() => 1)), [1]);
  return cast(less(first, first), 'int64');
}

/**
 * The same computation over weights as they lie in memory.
 *
 * A widened weight would be made as early as ONNX Runtime likes, and made once: held from the forward pass to the
 * backward pass, in twice the memory of what is saved. So each use has its own, which waits for the operator's other
 * input: its shape is read through one element of that. The shape alone changes nothing in memory, so it costs nothing.
 *
 * @param waits whether uses wait; on a GPU, where shapes come from the host, they do not
 */
export function readStored<G extends Graph>(graph: G, weights: Weights, waits: boolean): G {
  const frozen = frozenNodes(graph, weights);
  const valueOf = (node: Node): HostTensor | undefined => {
    const value = node.op === '@input' ? lookup(weights, node.name!) : undefined;
    return value && isStored(node.outputs[0]!, value) ? value : undefined;
  };
  const stored = new Set([...frozen].filter(([, leaves]) => [...leaves].some((t) => valueOf(t.node))).map(([node]) => node));
  if (stored.size === 0) return graph;

  const inputs = new Map<Node, Tensor>();
  /** The weight as it is fed. */
  const fed = (node: Node): Tensor => {
    const made = inputs.get(node) ?? weight(node.name!, node.outputs[0]!.shape, 'float16');
    inputs.set(node, made);
    return made;
  };
  const words = (node: Node, t: Tensor): Tensor =>
    (valueOf(node)!.dtype === 'float16' ? t : apply({ op: 'BitCast', inputs: [t], attributes: { to: { dtype: 'bfloat16' } } }, t.shape, 'bfloat16'));

  const zeros = new Map<Tensor, Tensor>();
  const made = new Map<Tensor, Map<Tensor | null, Tensor>>();
  /** A frozen tensor, computed again for one use. */
  const reading = (tensor: Tensor, after: Tensor | null): Tensor => {
    const t = resolve(tensor);
    if (!stored.has(t.node)) return t;
    const uses = made.get(t) ?? new Map<Tensor | null, Tensor>();
    made.set(t, uses);
    const known = uses.get(after) ?? readAgain(t, after);
    uses.set(after, known);
    return known;
  };
  const readAgain = ({ node, index, dtype, shape }: Tensor, after: Tensor | null): Tensor => {
    const from = node.inputs.map((x) => x && resolve(x));
    // What is computed as it is stored is never widened.
    if (node.op === 'Cast' && valueOf(from[0]!.node)?.dtype === dtype) return fed(from[0]!.node);
    if (!valueOf(node)) return applyMany({ ...node, inputs: from.map((x) => x && reading(x, after)), vjps: [] }, node.outputs)[index]!;
    if (!after) return cast(words(node, fed(node)), dtype);
    const zero = zeros.get(after) ?? zeroAfter(after);
    zeros.set(after, zero);
    const view = apply({ op: 'Reshape', inputs: [fed(node), add(literal([...shape], [shape.length], 'int64'), zero)] }, shape, 'float16');
    return cast(words(node, view), dtype);
  };

  return rewrite(graph, (node, now) => {
    // What no operator of this computation reads with something else: an output, for instance.
    if (valueOf(node)) return [reading(node.outputs[0]!, null)];
    if (frozen.has(node)) return null;
    const from = node.inputs.map((t) => t && resolve(t));
    if (!from.some((t) => t && stored.has(t.node))) return null;
    const [table, indices] = now as [Tensor, Tensor];
    // Of a table, only the rows that are read.
    if (node.op === 'Gather' && valueOf(from[0]!.node)) {
      const rows = apply({ ...node, inputs: [fed(from[0]!.node), indices], vjps: [] }, node.outputs[0]!.shape, 'float16');
      return [cast(words(from[0]!.node, rows), table.dtype)];
    }
    const after = waits ? (now.find((t, i) => t && t.rank > 0 && !frozen.has(from[i]!.node)) ?? null) : null;
    return applyMany({ ...node, inputs: now.map((t, i) => (from[i] && stored.has(from[i].node) ? reading(from[i], after) : t)), vjps: [] }, node.outputs);
  });
}
