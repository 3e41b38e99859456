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

/** Shares out the padding of an axis over both ends; the odd element goes to the end, or first if not `upper`. */
function shared(total: number, upper: boolean): [number, number] {
  const small = Math.floor(Math.max(0, total) / 2);
  const large = Math.max(0, total) - small;
  return upper ? [small, large] : [large, small];
}

/** The padding of both axes, shared out. */
export function sharedPadding(totals: readonly [number, number], upper: boolean): Window['padding'] {
  const [vertical, horizontal] = totals.map((total) => shared(total, upper)) as [[number, number], [number, number]];
  return [vertical[0], horizontal[0], vertical[1], horizontal[1]];
}

/** The windows along one axis. */
export interface AxisWindow {
  readonly kernel: number;
  readonly stride: number;
  readonly dilation: number;
  readonly before: number;
  readonly after: number;
}

/**
 * Reads the window attributes of a call, axis by axis.
 *
 * @param size lengths of the input's axes after batch and channels
 * @param weights kernel size that the weights have
 */
export function windowsOf(c: Call, size: Shape, weights?: Shape): AxisWindow[] {
  const kernel = c.intList('kernel_shape') ?? weights ?? c.fail('attribute kernel_shape is missing');
  if (weights && String(weights) !== String(kernel)) c.fail('kernel_shape is not that of the weights');
  const ones = size.map(() => 1);
  const stride = c.intList('strides') ?? ones;
  const dilation = c.intList('dilations') ?? ones;
  const pads = c.intList('pads') ?? [...ones, ...ones].map(() => 0);
  if ([kernel, stride, dilation].some((l) => l.length !== size.length)) c.fail(`its windows do not have ${size.length} axes`);
  if (pads.length !== 2 * size.length) c.fail(`${pads.length} pads for ${size.length} axes`);
  const auto = c.string('auto_pad', 'NOTSET');
  if (!['NOTSET', 'VALID', 'SAME_UPPER', 'SAME_LOWER'].includes(auto)) c.fail(`auto_pad ${auto} is not known`);
  const positive = [...kernel, ...stride, ...dilation];
  if (positive.some((v) => !(v >= 1 && v <= LARGEST)) || pads.some((v) => !(v >= 0 && v <= LARGEST))) {
    c.fail(`impossible window: kernel ${kernel}, strides ${stride}, dilations ${dilation}, pads ${pads}`);
  }
  return size.map((n, i): AxisWindow => {
    const axis = { kernel: kernel[i]!, stride: stride[i]!, dilation: dilation[i]! };
    if (auto === 'NOTSET') return { ...axis, before: pads[i]!, after: pads[size.length + i]! };
    if (auto === 'VALID') return { ...axis, before: 0, after: 0 };
    // SAME: as many outputs as the stride makes of the input without borders.
    const total = (Math.ceil(n / axis.stride) - 1) * axis.stride + reach(axis.kernel, axis.dilation) - n;
    const [before, after] = shared(total, auto === 'SAME_UPPER');
    return { ...axis, before, after };
  });
}

/** The windows of one or two axes as those of a picture. */
export function windowOf(c: Call, size: Shape, weights?: Shape): Window {
  const each = windowsOf(c, size, weights);
  return pictureWindow(each.length === 1 ? [ALONG_NOTHING, each[0]!] : (each as [AxisWindow, AxisWindow]));
}

const ALONG_NOTHING: AxisWindow = { kernel: 1, stride: 1, dilation: 1, before: 0, after: 0 };

export function pictureWindow([v, h]: readonly [AxisWindow, AxisWindow]): Window {
  return {
    kernel: [v.kernel, h.kernel], stride: [v.stride, h.stride], dilation: [v.dilation, h.dilation],
    padding: [v.before, h.before, v.after, h.after],
  };
}
