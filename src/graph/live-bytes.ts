/** @file How much memory the values of a graph take at once, estimated without running it. */
import { bytesPerElement, sizeOf } from './dtype.js';
import { schedule } from './onnx/export.js';
import { resolve } from './tensor.js';
import type { Node, Tensor } from './tensor.js';

/** Other shapes of the same numbers. */
const VIEWS = new Set(['Reshape', 'Squeeze', 'Unsqueeze', 'Flatten', 'Identity']);

/**
 * The most bytes that computed values take at the same time, when operators run in the order of the graph and each value
 * is freed after its last use. Inputs and constants are not counted, nor what an operator needs inside.
 */
export function liveBytes(outputs: Readonly<Record<string, Tensor>>): number {
  const order = schedule(Object.values(outputs));
  const whole = (tensor: Tensor): Node => {
    let { node } = resolve(tensor);
    while (VIEWS.has(node.op)) node = resolve(node.inputs[0]!).node;
    return node;
  };
  const lastUse = new Map<Node, number>();
  order.forEach((node, at) => {
    for (const from of node.inputs) if (from) lastUse.set(whole(from), at);
  });
  for (const tensor of Object.values(outputs)) lastUse.set(whole(tensor), Infinity);
  const freed = order.map((): Node[] => []);
  for (const [node, at] of lastUse) freed[at]?.push(node);
  const bytes = ({ op, outputs: made }: Node): number =>
    (op.startsWith('@') || VIEWS.has(op) ? 0 : made.reduce((sum, t) => sum + sizeOf(t.shape) * bytesPerElement(t.dtype), 0));
  let [now, most] = [0, 0];
  order.forEach((node, at) => {
    now += bytes(node);
    most = Math.max(most, now);
    for (const done of freed[at]!) now -= bytes(done);
  });
  return most;
}
