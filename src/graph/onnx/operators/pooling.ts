/** @file ONNX pooling over one or two axes, and over all of them. */
import { avgPool2d, maxPool2d } from '../../ops/pool.js';
import { max, mean } from '../../ops/reduce.js';
import type { ReduceOptions } from '../../ops/reduce.js';
import type { Tensor } from '../../tensor.js';
import type { Call, Operator } from '../call.js';
import { asImage, likeInput, windowOf } from './window.js';

const pool = (f: (image: Tensor, options: { kernel: [number, number]; stride: [number, number]; padding: [number, number, number, number]; ceil: boolean }, c: Call) => Tensor): Operator => (c) => {
  const x = c.x(0);
  const image = asImage(c, x);
  const { kernel, stride, dilation, padding } = windowOf(c, image.shape.slice(2));
  if (dilation.some((d) => d !== 1)) c.fail('dilated pooling is not supported');
  c.ignore('storage_order');
  return likeInput(f(image, { kernel, stride, padding, ceil: c.int('ceil_mode', 0) === 1 }, c), x);
};

const overall = (f: (x: Tensor, options: ReduceOptions) => Tensor): Operator => (c) => {
  const x = c.x(0);
  return f(x, { axes: x.shape.map((_, i) => i).slice(2), keepDims: true });
};

export const pooling: Readonly<Record<string, Operator>> = {
  AveragePool: pool((x, options, c) => avgPool2d(x, { ...options, countPadding: c.int('count_include_pad', 0) === 1 })),
  MaxPool: pool((x, options) => maxPool2d(x, options)),
  GlobalAveragePool: overall(mean),
  GlobalMaxPool: overall(max),
};
