/** @file ONNX pooling over one or two axes, and over all of them. */
import { avgPool2d, maxPool2d } from '../../ops/pool.js';
import type { PoolOptions } from '../../ops/pool.js';
import { max, mean } from '../../ops/reduce.js';
import type { ReduceOptions } from '../../ops/reduce.js';
import { applyMany } from '../../tensor.js';
import type { Tensor } from '../../tensor.js';
import type { Call, Operator } from '../call.js';
import { asImage, likeInput, windowOf } from './window.js';

/** Calls `f` with the image and its windows. */
const pool = (f: (c: Call, image: Tensor, options: PoolOptions) => Tensor[]): Operator => (c) => {
  const x = c.x(0);
  const image = asImage(c, x);
  const { kernel, stride, dilation, padding } = windowOf(c, image.shape.slice(2));
  if (dilation.some((d) => d !== 1)) c.fail('dilated pooling is not supported');
  return f(c, image, { kernel, stride, padding, ceil: c.int('ceil_mode', 0) === 1 }).map((y) => likeInput(y, x));
};

function average(c: Call, image: Tensor, options: PoolOptions): Tensor[] {
  return [avgPool2d(image, { ...options, countPadding: c.int('count_include_pad', 0) === 1 })];
}

/** Output 1 is where in the flattened input each maximum lies. */
function maximum(c: Call, image: Tensor, options: PoolOptions): Tensor[] {
  const y = maxPool2d(image, options);
  if (c.int('storage_order', 0) !== 0) c.fail('storage_order 1 is not supported');
  if (!c.node.output[1]) return [y];
  const { inputs, attributes } = y.node;
  const specs = [{ shape: y.shape, dtype: y.dtype }, { shape: y.shape, dtype: 'int64' as const }];
  return [y, applyMany({ op: 'MaxPool', inputs, attributes }, specs)[1]!];
}

const overall = (f: (x: Tensor, options: ReduceOptions) => Tensor): Operator => (c) => {
  const x = c.x(0);
  return f(x, { axes: x.shape.map((_, i) => i).slice(2), keepDims: true });
};

export const pooling: Readonly<Record<string, Operator>> = {
  AveragePool: pool(average),
  MaxPool: pool(maximum),
  GlobalAveragePool: overall(mean),
  GlobalMaxPool: overall(max),
};
