/**
 * @file ONNX QuantizeLinear and DequantizeLinear. A quantised activation stays a float32 tensor, of whole numbers, so that
 * gradients pass where it was within range (straight through the rounding, as in quantisation-aware training).
 */
import type { DType } from '../../dtype.js';
import { add, cast, clip, div, mul, sub } from '../../ops/arithmetic.js';
import { expand, narrow, reshape, unsqueeze } from '../../ops/layout.js';
import { normalizeAxes } from '../../ops/reduce.js';
import { roundStraightThrough } from '../../ops/rounding.js';
import type { Tensor } from '../../tensor.js';
import type { Call, Operator } from '../call.js';

const RANGES: Partial<Record<DType, readonly [number, number]>> = { uint8: [0, 255], int8: [-128, 127] };

/** Scale and zero point: one, one for each index of an axis, or one for each block along it, in a shape that broadcasts over x. */
function parameters(c: Call, x: Tensor): { scale: Tensor; zero: Tensor | undefined } {
  const axis = c.int('axis', 1);
  const block = c.int('block_size', 0);
  if (block < 0) c.fail(`impossible block_size ${block}`);
  /** Every entry along the axis repeated `block` times; the last block may be shorter. */
  const repeated = (t: Tensor, at: number): Tensor => {
    const blocks = Math.ceil(x.shape[at]! / block);
    if (t.shape.join() !== x.shape.with(at, blocks).join()) c.fail(`scale or zero point ${t} does not fit blocks of ${block} along axis ${at} of ${x}`);
    c.budget(x.size + block);
    const each = expand(unsqueeze(t, at + 1), t.shape.toSpliced(at + 1, 0, block));
    return narrow(reshape(each, x.shape.with(at, blocks * block)), at, 0, x.shape[at]!);
  };
  const spread = (t: Tensor): Tensor => {
    if (block > 0) return repeated(t, normalizeAxes(c.node.opType, x.rank, [axis])[0]!);
    if (t.size === 1) return reshape(t, []);
    const at = normalizeAxes(c.node.opType, x.rank, [axis])[0]!;
    if (t.rank !== 1 || t.size !== x.shape[at]) c.fail(`scale or zero point ${t} does not fit axis ${at} of ${x}`);
    return reshape(t, [t.size, ...x.shape.slice(at + 1).map(() => 1)]);
  };
  const zero = c.optional(2);
  return { scale: spread(c.x(1)), zero: zero && spread(cast(zero, 'float32')) };
}

/** ⌊x/scale⌉ + zero, kept in the range of bytes. */
const quantized: Operator = (c) => {
  c.ignore('saturate', 'precision');
  const x = cast(c.x(0), 'float32');
  const dtype = c.optional(2)?.dtype ?? c.dtype('output_dtype') ?? 'uint8';
  const [low, high] = RANGES[dtype] ?? c.fail(`quantisation to ${dtype} is not supported`);
  c.ignore('output_dtype');
  const { scale, zero } = parameters(c, x);
  const whole = roundStraightThrough(div(x, scale));
  return clip(zero ? add(whole, zero) : whole, low, high);
};

/** (x − zero)·scale. */
const dequantized: Operator = (c) => {
  c.ignore('output_dtype');
  const x = cast(c.x(0), 'float32');
  const { scale, zero } = parameters(c, x);
  return mul(zero ? sub(x, zero) : x, scale);
};

export const quantization: Readonly<Record<string, Operator>> = {
  QuantizeLinear: quantized,
  DequantizeLinear: dequantized,
};
