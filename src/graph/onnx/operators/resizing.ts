/**
 * @file ONNX Resize and Upsample: each output row is a weighted sum of input rows and so is each column. The weights
 * follow the operator's coordinate transformation, nearest mode and cubic coefficient.
 */
import { upsampleNearest } from '../../ops/resize.js';
import { separable } from '../../ops/separable.js';
import type { Matrix } from '../../ops/separable.js';
import type { Tensor } from '../../tensor.js';
import type { Call, Operator } from '../call.js';
import { LIMITS, quoted } from '../error.js';
import { asImage, likeInput } from './window.js';

/** One axis: n inputs become `out` outputs; `scale` is what the file says, or out / n. */
interface Axis {
  readonly n: number;
  readonly out: number;
  readonly scale: number;
}

type Place = (i: number, axis: Axis) => number;

const f32 = Math.fround;

/** Where output i lies among the inputs, in float32 as ONNX Runtime computes it. */
const PLACES: ReadonlyMap<string, Place> = new Map(Object.entries<Place>({
  half_pixel: (i, { scale }) => f32(f32(f32(i + 0.5) / f32(scale)) - 0.5),
  pytorch_half_pixel: (i, { out, scale }) => (out > 1 ? f32(f32(f32(i + 0.5) / f32(scale)) - 0.5) : 0),
  align_corners: (i, { n, out }) => (out === 1 ? 0 : f32(f32(i * (n - 1)) / f32(out - 1))),
  asymmetric: (i, { scale }) => f32(i / f32(scale)),
  tf_half_pixel_for_nn: (i, { scale }) => f32(f32(i + 0.5) / f32(scale)),
  half_pixel_symmetric: (i, { n, out, scale }) => f32((n / 2) * (1 - out / (scale * n)) + (i + 0.5) / scale - 0.5),
}));

const ROUNDINGS: ReadonlyMap<string, (x: number) => number> = new Map([
  ['round_prefer_floor', (x) => Math.ceil(x - 0.5)],
  ['round_prefer_ceil', (x) => Math.floor(x + 0.5)],
  ['floor', Math.floor],
  ['ceil', Math.ceil],
]);

const limited = (i: number, n: number): number => Math.min(Math.max(i, 0), n - 1);

/** Keys' (1981) cubic convolution kernel with parameter a. */
function keys(t: number, a: number): number {
  const x = Math.abs(t);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/** Makes the matrix of one axis from the inputs and weights of each output. */
type Weights = (axis: Axis) => (i: number) => [input: number, weight: number][];

function matrixOf(c: Call, axis: Axis, weights: Weights): Matrix {
  const { n, out } = axis;
  c.budget(out * n);
  const data = new Float64Array(out * n);
  const row = weights(axis);
  for (let i = 0; i < out; i++) for (const [j, w] of row(i)) data[i * n + j]! += w;
  return { rows: out, columns: n, data };
}

const linear = (place: Place): Weights => (axis) => (i) => {
  const x = limited(place(i, axis), axis.n);
  const base = Math.floor(x);
  return [[base, 1 - (x - base)], [limited(base + 1, axis.n), x - base]];
};

/** Weights beyond the edge go to the edge, or are left out and the others scaled up. */
function atEdges(taps: [number, number][], n: number, excludeOutside: boolean): [number, number][] {
  if (!excludeOutside) return taps.map(([j, w]) => [limited(j, n), w]);
  const inside = taps.filter(([j]) => j >= 0 && j < n);
  const total = inside.reduce((s, [, w]) => s + w, 0);
  return inside.map(([j, w]) => [j, w / total]);
}

const cubic = (place: Place, a: number, excludeOutside: boolean): Weights => (axis) => (i) => {
  const x = place(i, axis);
  const base = Math.floor(x);
  return atEdges([-1, 0, 1, 2].map((k) => [base + k, keys(x - base - k, a)]), axis.n, excludeOutside);
};

/** Shrinking widens the filter by the factor, so that every input counts. */
const antialiased = (place: Place, a: number | null, excludeOutside: boolean): Weights => (axis) => {
  const stretch = Math.max(1 / axis.scale, 1);
  const reach = (a === null ? 1 : 2) * stretch;
  return (i) => {
    const centre = place(i, axis) + 0.5;
    const [first, end] = [Math.floor(centre - reach + 0.5), Math.floor(centre + reach + 0.5)];
    const taps = Array.from({ length: end - first }, (_, k): [number, number] => {
      const t = (first + k + 0.5 - centre) / stretch;
      return [first + k, a === null ? Math.max(0, 1 - Math.abs(t)) : keys(t, a)];
    });
    const total = taps.reduce((s, [, w]) => s + w, 0);
    return atEdges(taps.map(([j, w]) => [j, w / total]), axis.n, excludeOutside);
  };
};

type Axes = readonly [Axis, Axis];

function nearest(c: Call, x: Tensor, axes: Axes, place: Place, round: (x: number) => number): Tensor {
  const picks = axes.map((axis) => {
    c.budget(axis.out);
    return Array.from({ length: axis.out }, (_, i) => limited(round(place(i, axis)), axis.n));
  });
  const factors = axes.map(({ n, out }) => out / n) as [number, number];
  const repeats = picks.every((list, k) => list.every((p, i) => p === Math.floor(i / factors[k]!)));
  if (repeats && factors.every(Number.isInteger)) return upsampleNearest(x, factors);
  const [v, h] = axes.map((axis, k) => matrixOf(c, axis, () => (i) => [[picks[k]![i]!, 1]])) as [Matrix, Matrix];
  return separable(x, v, h);
}

/** What becomes of each axis, from scales or sizes for all axes or for those of the attribute `axes`. */
function axesOf(c: Call, x: Tensor, scales: readonly number[] | undefined, sizes?: readonly number[]): Axis[] {
  const listed = (c.intList('axes') ?? x.shape.map((_, i) => i)).map((a) => (a < 0 ? a + x.rank : a));
  const given = scales ?? sizes ?? c.fail('has neither scales nor sizes');
  if (given.length !== listed.length) c.fail(`${given.length} scales or sizes for ${listed.length} axes`);
  const policy = c.string('keep_aspect_ratio_policy', 'stretch');
  if (policy !== 'stretch') c.fail(`aspect ratio policy ${policy} is not supported`);
  return x.shape.map((n, axis): Axis => {
    const at = listed.indexOf(axis);
    if (at < 0) return { n, out: n, scale: 1 };
    const out = scales ? Math.floor(f32(n * f32(scales[at]!))) : sizes![at]!;
    if (!(out >= 1) || n < 1) c.fail(`cannot resize an axis of ${n} to ${out}`);
    return { n, out, scale: scales ? scales[at]! : out / n };
  });
}

/** Scales or sizes as plain numbers; an empty list stands for none. */
function numbers(c: Call, i: number): number[] | undefined {
  if (!c.optional(i)) return undefined;
  const list = Array.from(c.host(i).data as Float32Array, Number);
  return list.length > 0 && list.length <= LIMITS.rank ? list : undefined;
}

interface Asked {
  scales?: number[] | undefined;
  sizes?: number[] | undefined;
  /** Coordinate transformation. */
  place: string;
  /** Nearest mode. */
  rounding: string;
}

function resized(c: Call, { scales, sizes, place, rounding }: Asked): Tensor {
  const x = c.x(0);
  const all = axesOf(c, x, scales, sizes);
  if (all.slice(0, 2).some(({ n, out }) => n !== out)) c.fail('only the axes after batch and channels can be resized');
  const image = asImage(c, x);
  const axes = (x.rank === 3 ? [{ n: 1, out: 1, scale: 1 }, all[2]!] : all.slice(2)) as [Axis, Axis];
  const mode = c.string('mode', 'nearest');
  const at = PLACES.get(place) ?? c.fail(`coordinate transformation ${quoted(place)} is not supported`);
  const round = ROUNDINGS.get(rounding) ?? c.fail(`nearest mode ${quoted(rounding)} is not supported`);
  const a = c.float('cubic_coeff_a', -0.75);
  const excludeOutside = c.int('exclude_outside', 0) === 1;
  const smooth = c.int('antialias', 0) === 1;
  if (axes.every(({ n, out, scale }) => n === out && scale === 1)) return x;
  if (mode === 'nearest' && !smooth) return likeInput(nearest(c, image, axes, at, round), x);
  if (mode !== 'linear' && mode !== 'cubic') c.fail(`mode ${mode}${smooth ? ' with antialias' : ''} is not supported`);
  const plain = mode === 'linear' ? linear(at) : cubic(at, a, excludeOutside);
  const weights = smooth ? antialiased(at, mode === 'linear' ? null : a, excludeOutside) : plain;
  return likeInput(separable(image, matrixOf(c, axes[0], weights), matrixOf(c, axes[1], weights)), x);
}

/** Operator set 10 takes scales only, from 11 on the second input is a region (for cropping, not supported). */
function resizeOf(c: Call): Tensor {
  if (c.opset < 11) return resized(c, { scales: numbers(c, 1), place: 'asymmetric', rounding: 'floor' });
  c.optional(1);
  c.ignore('extrapolation_value');
  return resized(c, {
    scales: numbers(c, 2),
    sizes: numbers(c, 3),
    place: c.string('coordinate_transformation_mode', 'half_pixel'),
    rounding: c.string('nearest_mode', 'round_prefer_floor'),
  });
}

function upsampled(c: Call): Tensor {
  return resized(c, { scales: c.floatList('scales') ?? numbers(c, 1), place: 'asymmetric', rounding: 'floor' });
}

export const resizing: Readonly<Record<string, Operator>> = {
  Resize: resizeOf,
  Upsample: upsampled,
};
