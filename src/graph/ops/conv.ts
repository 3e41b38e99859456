/** @file Two-dimensional convolution and its transpose, with stride, padding, dilation and groups. */
import type { Shape } from '../dtype.js';
import { describeShape, traceError } from '../errors.js';
import { apply, customVjp, literal } from '../tensor.js';
import type { Attributes, Tensor, Vjp } from '../tensor.js';
import { concat, pad, reshape, slice, transpose } from './layout.js';
import { gemm, matmul } from './matmul.js';
import { sum } from './reduce.js';

/** A number for both axes, [vertical, horizontal], or (padding only) [top, left, bottom, right]. */
export type Padding = number | readonly [number, number] | readonly [number, number, number, number];

export interface ConvOptions {
  stride?: number | readonly [number, number];
  padding?: Padding;
  dilation?: number | readonly [number, number];
  groups?: number;
}

interface Geometry {
  stride: readonly [number, number];
  dilation: readonly [number, number];
  /** top, left, bottom, right */
  pads: readonly [number, number, number, number];
  groups: number;
}

/** [vertical, horizontal] of what may be one number for both. */
export function pair(v: number | readonly [number, number] = 1): readonly [number, number] {
  return typeof v === 'number' ? [v, v] : v;
}

/** [top, left, bottom, right] */
export function fourSides(padding: Padding = 0): readonly [number, number, number, number] {
  if (typeof padding === 'number') return [padding, padding, padding, padding];
  return padding.length === 4 ? padding : [padding[0], padding[1], padding[0], padding[1]];
}

function geometry(options: ConvOptions): Geometry {
  const { stride, padding, dilation, groups = 1 } = options;
  return { stride: pair(stride), dilation: pair(dilation), pads: fourSides(padding), groups };
}

const optionsOf = ({ pads, ...rest }: Geometry): ConvOptions => ({ ...rest, padding: pads });

function attributesOf({ stride, dilation, pads, groups }: Geometry, kernel: Shape): Attributes {
  return {
    kernel_shape: [...kernel],
    strides: [...stride],
    dilations: [...dilation],
    pads: [...pads],
    group: groups,
  };
}

/**
 * Convolution (cross-correlation, as in PyTorch).
 *
 * @param x [B, C, H, W]
 * @param w [O, C/groups, kh, kw]
 * @param b [O]
 * @returns [B, O, H', W'] with H' = ⌊(H + pads − dilation·(kh − 1) − 1) / stride⌋ + 1
 */
export function conv2d(x: Tensor, w: Tensor, b?: Tensor, options: ConvOptions = {}): Tensor {
  const geo = geometry(options);
  checkOperands('Conv', x, w, b, geo.groups, [w.shape[1]! * geo.groups, w.shape[0]!]);
  const out = ([0, 1] as const).map((i) => {
    const reach = geo.dilation[i] * (w.shape[2 + i]! - 1) + 1;
    return Math.floor((x.shape[2 + i]! + geo.pads[i] + geo.pads[i + 2]! - reach) / geo.stride[i]) + 1;
  });
  if (out.some((d) => d < 1)) {
    traceError('Conv', `kernel ${describeShape(w.shape)} is larger than padded input ${describeShape(x.shape)}`);
  }
  const vjps: Vjp[] = [
    (g) => convInputGradient(g, w, x.shape, geo),
    (g) => convWeightGradient(x, g, w.shape, geo),
    (g) => sum(g, { axes: [0, 2, 3] }),
  ];
  return apply(
    { op: 'Conv', inputs: b ? [x, w, b] : [x, w], attributes: attributesOf(geo, w.shape.slice(2)), vjps },
    [x.shape[0]!, w.shape[0]!, ...out],
    x.dtype,
  );
}

/** Checks x, w and b of an operator that takes `into` channels and makes `out`. */
function checkOperands(
  op: string, x: Tensor, w: Tensor, b: Tensor | undefined, groups: number, [into, out]: readonly [number, number],
): void {
  const fits = x.rank === 4 && w.rank === 4 && x.shape[1] === into && w.shape[0]! % groups === 0;
  if (!fits || w.dtype !== x.dtype) traceError(op, `weight ${w} (groups ${groups}) does not fit ${x}`);
  const biasFits = !b || (describeShape(b.shape) === describeShape([out]) && b.dtype === x.dtype);
  if (!biasFits) traceError(op, `bias ${b} does not fit weight ${w}`);
}

/** Swaps the two channel axes within each group: [O, C/g, …] → [C, O/g, …]. */
function swapChannels(w: Tensor, groups: number): Tensor {
  const [o, c, kh, kw] = w.shape as [number, number, number, number];
  if (groups === 1) return transpose(w, [1, 0, 2, 3]);
  const grouped = reshape(w, [groups, o / groups, c, kh, kw]);
  return reshape(transpose(grouped, [0, 2, 1, 3, 4]), [groups * c, o / groups, kh, kw]);
}

/**
 * Turns the kernel by 180°: its taps in reverse order, through a product with the exchange matrix, which is two to four
 * times as fast as Gather or Slice on an axis this short.
 */
function rotate(w: Tensor): Tensor {
  const [o, c, kh, kw] = w.shape as [number, number, number, number];
  const taps = kh * kw;
  if (taps === 1) return w;
  const exchange = new Array<number>(taps * taps).fill(0);
  for (let i = 0; i < taps; i++) exchange[i * taps + taps - 1 - i] = 1;
  return reshape(matmul(reshape(w, [o * c, taps]), literal(exchange, [taps, taps], w.dtype)), w.shape);
}

/*
 * A convolution, its gradient by the input and its gradient by the weight are three faces of one trilinear form, so the
 * gradient of each is made of the other two. Said with a customVjp, second derivatives do not go through the operators
 * that a gradient is computed with.
 */

/** Gradient by the input, given that of the output. */
function convInputGradient(g: Tensor, w: Tensor, shape: Shape, geo: Geometry): Tensor {
  const rules: Vjp[] = [(u) => conv2d(u, w, undefined, optionsOf(geo)), (u) => convWeightGradient(u, g, w.shape, geo)];
  return customVjp([inputGradientValue(g, w, shape, geo)], [g, w], rules)[0]!;
}

/** Gradient by the weight, given that of the output. */
function convWeightGradient(x: Tensor, g: Tensor, shape: Shape, geo: Geometry): Tensor {
  const rules: Vjp[] = [(u) => convInputGradient(g, u, x.shape, geo), (u) => conv2d(x, u, undefined, optionsOf(geo))];
  return customVjp([weightGradientValue(x, g, shape, geo)], [x, g], rules)[0]!;
}

/**
 * With stride 1 the gradient by the input is a convolution with the kernel rotated and its channels swapped, which runs
 * at the speed of the forward convolution; ConvTranspose reached 60% of that (docs/decisions.md).
 */
function inputGradientValue(g: Tensor, w: Tensor, shape: Shape, geo: Geometry): Tensor {
  const reach = ([0, 1] as const).map((i) => geo.dilation[i] * (w.shape[2 + i]! - 1));
  const pads = geo.pads.map((p, side) => reach[side % 2]! - p);
  if (geo.stride[0] === 1 && geo.stride[1] === 1 && pads.every((p) => p >= 0)) {
    const padding = pads as unknown as [number, number, number, number];
    const kernel = swapChannels(rotate(w), geo.groups);
    return conv2d(g, kernel, undefined, { padding, dilation: geo.dilation, groups: geo.groups });
  }
  return convTranspose2d(g, w, undefined, { ...optionsOf(geo), outputSize: shape.slice(2) as [number, number] });
}

/**
 * The gradient by the weight is one matrix product for each tap of the kernel, of the output's gradient with the input
 * as that tap saw it. The input is kept channels-last, so that what a tap saw is copied in long runs. This is about as
 * fast as the forward convolution; one product over all taps' patches at once takes up to twice as long.
 */
function weightGradientValue(x: Tensor, g: Tensor, shape: Shape, geo: Geometry): Tensor {
  const [o, c, kh, kw] = shape as [number, number, number, number];
  const [b, , oh, ow] = g.shape as [number, number, number, number];
  const { groups, stride, dilation, pads: [top, left, bottom, right] } = geo;
  const places = b * oh * ow;
  const last = pad(transpose(x, [0, 2, 3, 1]), [0, top, left, 0], [0, bottom, right, 0]); // [B, H, W, groups·C]
  const rows = reshape(transpose(g, [1, 0, 2, 3]), [groups, o / groups, places]);
  const taps: Tensor[] = [];
  for (let i = 0; i < kh; i++) {
    for (let j = 0; j < kw; j++) {
      const [y0, x0] = [i * dilation[0], j * dilation[1]];
      const ends = [b, y0 + (oh - 1) * stride[0] + 1, x0 + (ow - 1) * stride[1] + 1, groups * c];
      const seen = slice(last, [0, y0, x0, 0], ends, [1, stride[0], stride[1], 1]);
      const tap = groups === 1
        ? gemm(reshape(rows, [o, places]), reshape(seen, [places, c]))
        : matmul(rows, transpose(reshape(seen, [places, groups, c]), [1, 0, 2]));
      taps.push(reshape(tap, [o, 1, c]));
    }
  }
  return reshape(transpose(concat(taps, 1), [0, 2, 1]), shape);
}

export interface ConvTransposeOptions extends ConvOptions {
  /** [H', W'] of the result, where the stride leaves a choice; the smallest by default. */
  outputSize?: readonly [number, number];
}

/**
 * Transposed convolution: the input gradient of the convolution with the same weight.
 *
 * @param x [B, I, H, W]
 * @param w [I, O/groups, kh, kw]
 * @param b [O]
 */
export function convTranspose2d(x: Tensor, w: Tensor, b?: Tensor, options: ConvTransposeOptions = {}): Tensor {
  const geo = geometry(options);
  checkOperands('ConvTranspose', x, w, b, geo.groups, [w.shape[0]!, w.shape[1]! * geo.groups]);
  const smallest = ([0, 1] as const).map((i) => {
    const reach = geo.dilation[i] * (w.shape[2 + i]! - 1) + 1;
    return (x.shape[2 + i]! - 1) * geo.stride[i] + reach - geo.pads[i] - geo.pads[i + 2]!;
  });
  const size = options.outputSize ?? smallest;
  const extra = size.map((d, i) => d - smallest[i]!);
  if (extra.some((e, i) => e < 0 || (e > 0 && e >= geo.stride[i]!))) {
    traceError('ConvTranspose', `output ${describeShape(size)} is not reachable from ${describeShape(x.shape)}`);
  }
  const vjps: Vjp[] = [
    (g) => conv2d(g, w, undefined, optionsOf(geo)),
    (g) => convWeightGradient(g, x, w.shape, geo),
    (g) => sum(g, { axes: [0, 2, 3] }),
  ];
  return apply(
    {
      op: 'ConvTranspose',
      inputs: b ? [x, w, b] : [x, w],
      attributes: { ...attributesOf(geo, w.shape.slice(2)), output_padding: extra },
      vjps,
    },
    [x.shape[0]!, w.shape[1]! * geo.groups, ...size],
    x.dtype,
  );
}
