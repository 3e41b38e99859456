/** @file ONNX pooling over one, two or three axes, and over all of them. */
import { avgPool2d, maxPool2d } from '../../ops/pool.js';
import type { PoolOptions } from '../../ops/pool.js';
import { reshape } from '../../ops/layout.js';
import { max, mean } from '../../ops/reduce.js';
import type { ReduceOptions } from '../../ops/reduce.js';
import { applyMany } from '../../tensor.js';
import type { Tensor } from '../../tensor.js';
import type { Call, Operator } from '../call.js';
import { asImage, likeInput, pictureWindow, windowOf, windowsOf } from './window.js';
import type { AxisWindow } from './window.js';

type Pool = (c: Call, image: Tensor, options: PoolOptions) => Tensor[];

/** Calls `f` with the image and its windows. A volume is pooled along its planes, then along its depth. */
const pool = (f: Pool): Operator => (c) => {
  const x = c.x(0);
  const each = windowsOf(c, x.shape.slice(2));
  const ceil = c.int('ceil_mode', 0) === 1;
  if (x.rank === 5) {
    const [depth, v, h] = each as [AxisWindow, AxisWindow, AxisWindow];
    if (c.node.output[1]) c.fail('places of maxima in volumes are not supported');
    const [b, ch, d, height, width] = x.shape as [number, number, number, number, number];
    const planes = f(c, reshape(x, [b, ch * d, height, width]), { ...pictureWindow([v, h]), ceil })[0]!;
    const [h2, w2] = planes.shape.slice(2) as [number, number];
    const along = { kernel: 1, stride: 1, dilation: 1, before: 0, after: 0 };
    const y = f(c, reshape(planes, [b, ch, d, h2 * w2]), { ...pictureWindow([depth, along]), ceil })[0]!;
    return reshape(y, [b, ch, y.shape[2]!, h2, w2]);
  }
  return f(c, asImage(c, x), { ...windowOf(c, x.shape.slice(2)), ceil }).map((y) => likeInput(y, x));
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
