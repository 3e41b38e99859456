/** @file Pooling: averages and maxima over windows, over the whole image, or over a grid of given size; and what undoes them, repeating pixels. */
import { describeShape, traceError } from '../errors.js';
import { apply, applyMany, full, literal } from '../tensor.js';
import type { Attributes, Tensor, Vjp } from '../tensor.js';
import { mul } from './arithmetic.js';
import { fourSides, pair } from './conv.js';
import type { Padding } from './conv.js';
import { addAlong } from './gather.js';
import { reshape } from './layout.js';
import { max, mean } from './reduce.js';
import type { ReduceOptions } from './reduce.js';
import { matrix, separable, transposed } from './separable.js';
import type { Matrix } from './separable.js';

export interface PoolOptions {
  /** Window: a number for both axes, or [vertical, horizontal]. */
  kernel: number | readonly [number, number];
  /** The kernel by default. */
  stride?: number | readonly [number, number];
  padding?: Padding;
  /** Distance of the inputs that a window sees. */
  dilation?: number | readonly [number, number];
  /** Round the output size up; the last window may then reach over the edge. */
  ceil?: boolean;
}

/** One axis: n inputs, `out` windows of k inputs (`dilation` from each other), `stride` apart, the first starting `before` inputs from the edge. */
interface Axis {
  readonly n: number;
  readonly k: number;
  readonly dilation: number;
  readonly stride: number;
  readonly before: number;
  readonly after: number;
  readonly out: number;
}

function axesOf(op: string, x: Tensor, options: PoolOptions): [Axis, Axis] {
  const { kernel, stride = kernel, padding = 0, dilation = 1, ceil = false } = options;
  const window = `kernel ${describeShape(pair(kernel))}`;
  if (x.rank !== 4) traceError(op, `takes [B, C, H, W], not ${describeShape(x.shape)}`);
  const pads = fourSides(padding);
  return ([0, 1] as const).map((i): Axis => {
    const [n, k, s, before, after] = [x.shape[2 + i]!, pair(kernel)[i], pair(stride)[i], pads[i], pads[i + 2]!];
    const d = pair(dilation)[i];
    const reach = (k - 1) * d + 1;
    if (before >= reach || after >= reach) traceError(op, `padding ${describeShape(pads)} is not smaller than ${window}`);
    let out = Math[ceil ? 'ceil' : 'floor']((n + before + after - reach) / s) + 1;
    // A window that would see nothing but padding is left out, as in PyTorch.
    if (ceil && (out - 1) * s >= n + before) out -= 1;
    if (out < 1) traceError(op, `${window} is larger than padded input ${describeShape(x.shape)}`);
    return { n, k, dilation: d, stride: s, before, after, out };
  }) as [Axis, Axis];
}

function attributesOf([v, h]: readonly [Axis, Axis], ceil = false): Attributes {
  return {
    kernel_shape: [v.k, h.k],
    strides: [v.stride, h.stride],
    pads: [v.before, h.before, v.after, h.after],
    ...((v.dilation > 1 || h.dilation > 1) && { dilations: [v.dilation, h.dilation] }),
    ceil_mode: ceil ? 1 : 0,
  };
}

const pooledShape = (x: Tensor, [v, h]: readonly [Axis, Axis]): number[] => [...x.shape.slice(0, 2), v.out, h.out];

/** Row i averages window i. Padding counts in the divisor if asked; what lies beyond the padding never does. */
function averages({ n, k, dilation, stride, before, after, out }: Axis, countPadding: boolean): Matrix {
  return matrix(out, n, (i, j) => {
    const start = i * stride - before;
    const seen = Array.from({ length: k }, (_, t) => start + t * dilation);
    if (!seen.includes(j)) return 0;
    return 1 / seen.filter((at) => (countPadding ? at < n + after : at >= 0 && at < n)).length;
  });
}

/**
 * Mean of each window: [B, C, H, W] → [B, C, H', W'].
 *
 * @param options.countPadding whether padded zeros count in the divisor: true by default, as in PyTorch
 */
export function avgPool2d(x: Tensor, options: PoolOptions & { countPadding?: boolean }): Tensor {
  const axes = axesOf('AveragePool', x, options);
  const { countPadding = true } = options;
  const [v, h] = axes;
  // Operator set 18, which graphs are written in, has no dilated average.
  if (axes.some((a) => a.dilation > 1)) return separable(x, averages(v, countPadding), averages(h, countPadding));
  const tiles = axes.every((a) => a.stride === a.k && a.out * a.k === a.n && a.before === 0);
  const back: Vjp = (g) => (tiles
    ? mul(upsampleNearest(g, [v.k, h.k]), 1 / (v.k * h.k))
    : separable(g, transposed(averages(v, countPadding)), transposed(averages(h, countPadding))));
  const attributes = { ...attributesOf(axes, options.ceil), count_include_pad: countPadding ? 1 : 0 };
  return apply({ op: 'AveragePool', inputs: [x], attributes, vjps: [back] }, pooledShape(x, axes), x.dtype);
}

/** Repeats every pixel `factor` times (or [vertical, horizontal] times): [B, C, H, W] → [B, C, fH, fW]. */
export function upsampleNearest(x: Tensor, factor: number | readonly [number, number]): Tensor {
  const [fy, fx] = typeof factor === 'number' ? [factor, factor] : factor;
  if (fy === 1 && fx === 1) return x;
  const [b, c, h, w] = x.shape as [number, number, number, number];
  const back: Vjp = (g) => mul(avgPool2d(g, { kernel: [fy, fx] }), fy * fx);
  const attributes = { mode: 'nearest', coordinate_transformation_mode: 'asymmetric', nearest_mode: 'floor' };
  return apply(
    { op: 'Resize', inputs: [x, null, literal([1, 1, fy, fx])], attributes, vjps: [back] },
    [b, c, h * fy, w * fx],
    x.dtype,
  );
}

/** Maximum of each window, [B, C, H, W] → [B, C, H', W']. Padding never wins. The first maximum gets the gradient. */
export function maxPool2d(x: Tensor, options: PoolOptions): Tensor {
  const axes = axesOf('MaxPool', x, options);
  const attributes = attributesOf(axes, options.ceil);
  const shape = pooledShape(x, axes);
  const back: Vjp = (g) => {
    // Where the maxima are is found again, so that a pass without gradients does not ask for it.
    const specs = [{ shape, dtype: x.dtype }, { shape, dtype: 'int64' as const }];
    const [, places] = applyMany({ op: 'MaxPool', inputs: [x], attributes }, specs) as [Tensor, Tensor];
    return reshape(addAlong(full([x.size], 0, x.dtype), reshape(places, [g.size]), reshape(g, [g.size]), 0), x.shape);
  };
  return apply({ op: 'MaxPool', inputs: [x], attributes, vjps: [back] }, shape, x.dtype);
}

const SPATIAL: ReduceOptions = { axes: [2, 3], keepDims: true };
/** [B, C, H, W] → [B, C, 1, 1] */
export const globalAvgPool2d = (x: Tensor): Tensor => mean(x, SPATIAL);
/** [B, C, H, W] → [B, C, 1, 1] */
export const globalMaxPool2d = (x: Tensor): Tensor => max(x, SPATIAL);

/** Means over H' × W' cells that cover the image (torch adaptive_avg_pool2d): [B, C, H, W] → [B, C, H', W']. */
export function adaptiveAvgPool2d(x: Tensor, size: readonly [number, number]): Tensor {
  const cells = (n: number, out: number): Matrix =>
    matrix(out, n, (i, j) => {
      const [start, end] = [Math.floor((i * n) / out), Math.ceil(((i + 1) * n) / out)];
      return j >= start && j < end ? 1 / (end - start) : 0;
    });
  return separable(x, cells(x.shape[2]!, size[0]), cells(x.shape[3]!, size[1]));
}
