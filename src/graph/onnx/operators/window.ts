/** @file The sliding windows of ONNX convolutions and pools: strides, dilations, and four ways to say the padding. */
import type { Shape } from '../../dtype.js';
import { reshape } from '../../ops/layout.js';
import type { Tensor } from '../../tensor.js';
import type { Call } from '../call.js';

export interface Window {
  kernel: [number, number];
  stride: [number, number];
  dilation: [number, number];
  /** top, left, bottom, right */
  padding: [number, number, number, number];
}

/** Beyond this a kernel, stride or padding is not meant seriously. */
const LARGEST = 2 ** 16;

/** [B, C, L] → [B, C, 1, L]: one-dimensional windows are computed as two-dimensional ones of height 1. */
export function asImage(c: Call, x: Tensor): Tensor {
  if (x.rank === 3) return reshape(x, [x.shape[0]!, x.shape[1]!, 1, x.shape[2]!]);
  return x.rank === 4 ? x : c.fail(`windows over ${x} are not supported, only [B, C, L] and [B, C, H, W]`);
}

/** Undoes `asImage` for a result that came from `x`. */
export function likeInput(y: Tensor, x: Tensor): Tensor {
  return x.rank === 3 ? reshape(y, [y.shape[0]!, y.shape[1]!, y.shape[3]!]) : y;
}

/** [v] → [fill, v]; [a, b] → itself. */
export function twoAxes(c: Call, list: readonly number[], fill: number): [number, number] {
  if (list.length !== 1 && list.length !== 2) c.fail(`${list.length} window axes do not fit its input`);
  return list.length === 1 ? [fill, list[0]!] : [list[0]!, list[1]!];
}

/** How far a window of `kernel` elements reaches. */
export const reach = (kernel: number, dilation: number): number => (kernel - 1) * dilation + 1;

/** Shares out the padding of each axis over both ends; the odd element goes to the end, or first if not `upper`. */
export function sharedPadding(totals: readonly [number, number], upper: boolean): Window['padding'] {
  const [vertical, horizontal] = totals.map((total): [number, number] => {
    const small = Math.floor(Math.max(0, total) / 2);
    const large = Math.max(0, total) - small;
    return upper ? [small, large] : [large, small];
  }) as [[number, number], [number, number]];
  return [vertical[0], horizontal[0], vertical[1], horizontal[1]];
}

/**
 * Reads the window attributes of a call.
 *
 * @param size height and width of the input
 * @param weights kernel size that the weights have
 */
export function windowOf(c: Call, size: Shape, weights?: Shape): Window {
  const given = c.intList('kernel_shape') ?? weights ?? c.fail('attribute kernel_shape is missing');
  const kernel = twoAxes(c, given, 1);
  if (weights && String(twoAxes(c, weights, 1)) !== String(kernel)) c.fail('kernel_shape is not that of the weights');
  const axes = given.map(() => 1);
  const stride = twoAxes(c, c.intList('strides') ?? axes, 1);
  const dilation = twoAxes(c, c.intList('dilations') ?? axes, 1);
  const pads = c.intList('pads') ?? [...axes, ...axes].map(() => 0);
  if (pads.length !== 2 * given.length) c.fail(`${pads.length} pads for ${given.length} axes`);
  const [top, left] = twoAxes(c, pads.slice(0, given.length), 0);
  const [bottom, right] = twoAxes(c, pads.slice(given.length), 0);
  const auto = c.string('auto_pad', 'NOTSET');
  if (!['NOTSET', 'VALID', 'SAME_UPPER', 'SAME_LOWER'].includes(auto)) c.fail(`auto_pad ${auto} is not known`);
  const positive = [...kernel, ...stride, ...dilation];
  if (positive.some((v) => !(v >= 1 && v <= LARGEST)) || pads.some((v) => !(v >= 0 && v <= LARGEST))) {
    c.fail(`impossible window: kernel ${kernel}, strides ${stride}, dilations ${dilation}, pads ${pads}`);
  }
  const window = { kernel, stride, dilation };
  if (auto === 'NOTSET') return { ...window, padding: [top, left, bottom, right] };
  if (auto === 'VALID') return { ...window, padding: [0, 0, 0, 0] };
  // SAME: as many outputs as the stride makes of the input without borders.
  const totals = ([0, 1] as const).map((i) => {
    const outputs = Math.ceil(size[i]! / stride[i]);
    return (outputs - 1) * stride[i] + reach(kernel[i], dilation[i]) - size[i]!;
  }) as [number, number];
  return { ...window, padding: sharedPadding(totals, auto === 'SAME_UPPER') };
}
