/**
 * @file Constant folding: evaluates traced operators on host arrays. Meant for the arithmetic on shapes, indices and
 * masks that exporters leave in a file, so it is short rather than fast.
 */
import type { HostTensor } from '../../dtype.js';
import type { Node, Tensor } from '../../tensor.js';
import { LIMITS } from '../error.js';
import { elementwise } from './elementwise.js';
import { movement } from './movement.js';
import { reductions } from './reductions.js';
import type { Kernel } from './views.js';

/** By ONNX name, in the form in which our functions trace the operators (operator set 18). */
const KERNELS: Readonly<Record<string, Kernel>> = { ...elementwise, ...movement, ...reductions };

export interface Folding {
  /** Known numbers of a tensor made before. */
  known(tensor: Tensor): HostTensor | undefined;
  /** Elements that may still be folded. */
  left: number;
}

/**
 * The numbers of `tensor`, if it depends on known tensors only, through operators that can be evaluated here.
 *
 * @param start nodes older than this are not looked into
 */
export function fold(tensor: Tensor, start: number, state: Folding): HostTensor | undefined {
  const order: Node[] = [];
  const seen = new Set<Node>();
  let elements = 0;
  const visit = (t: Tensor): boolean => {
    const { node } = t;
    if (state.known(t) || seen.has(node)) return true;
    if (node.id < start) return false;
    if (node.op !== '@constant' && node.op !== '@customVjp' && !KERNELS[node.op]) return false;
    for (const o of node.outputs) {
      if (o.size > LIMITS.foldElements) return false;
      elements += o.size;
    }
    if (elements > state.left) return false;
    seen.add(node);
    const read = node.op === '@customVjp' ? node.inputs.slice(0, node.outputs.length) : node.inputs;
    if (!read.every((i) => i === null || visit(i))) return false;
    order.push(node);
    return true;
  };
  if (!visit(tensor)) return undefined;
  state.left -= elements;

  const values = new Map<Tensor, HostTensor>();
  const valueOf = (t: Tensor): HostTensor => values.get(t) ?? state.known(t)!;
  for (const node of order) {
    if (node.op === '@constant') values.set(node.outputs[0]!, node.value!);
    else if (node.op === '@customVjp') node.outputs.forEach((o, i) => values.set(o, valueOf(node.inputs[i]!)));
    else {
      const out = node.outputs[0]!;
      const inputs = node.inputs.map((i) => (i ? valueOf(i) : null));
      const data = KERNELS[node.op]!(inputs as HostTensor[], node, out);
      values.set(out, { data, shape: out.shape, dtype: out.dtype });
    }
  }
  return valueOf(tensor);
}
