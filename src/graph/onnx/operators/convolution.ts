/** @file ONNX convolution and its transpose, over one, two or three axes. */
import { add } from '../../ops/arithmetic.js';
import { conv2d, convTranspose2d } from '../../ops/conv.js';
import { narrow, pad, reshape, slice, transpose, unsqueeze } from '../../ops/layout.js';
import type { Tensor } from '../../tensor.js';
import type { Call, Operator } from '../call.js';
import { asImage, likeInput, pictureWindow, reach, sharedPadding, twoAxes, windowOf, windowsOf } from './window.js';
import type { AxisWindow } from './window.js';

/** [B, C, D, H, W]: as many convolutions over pictures as the kernel is deep. */
function overVolume(c: Call, x: Tensor, w: Tensor): Tensor {
  const groups = groupsOf(c);
  const [depth, v, h] = windowsOf(c, x.shape.slice(2), w.shape.slice(2)) as [AxisWindow, AxisWindow, AxisWindow];
  const options = { ...pictureWindow([v, h]), groups };
  const bias = c.optional(2);
  const ends = (n: number): number[] => x.shape.map((_, i) => (i === 2 ? n : 0));
  const padded = pad(x, ends(depth.before), ends(depth.after));
  const [b, ch, d, height, width] = padded.shape as [number, number, number, number, number];
  const out = Math.floor((d - reach(depth.kernel, depth.dilation)) / depth.stride) + 1;
  if (out < 1) c.fail(`kernel ${w} is larger than ${x} with its padding`);
  const taps = Array.from({ length: depth.kernel }, (_, k) => {
    const from = k * depth.dilation;
    const step = [1, 1, depth.stride, 1, 1];
    const seen = slice(padded, ends(from), [b, ch, from + (out - 1) * depth.stride + 1, height, width], step);
    const planes = reshape(transpose(seen, [0, 2, 1, 3, 4]), [b * out, ch, height, width]);
    const kernel = reshape(narrow(w, 2, k, k + 1), w.shape.toSpliced(2, 1));
    return conv2d(planes, kernel, k === 0 ? bias : undefined, options);
  });
  const total = taps.reduce((s, t) => add(s, t));
  return transpose(reshape(total, [b, out, ...total.shape.slice(1)]), [0, 2, 1, 3, 4]);
}

function convolution(c: Call): Tensor {
  const [x, w] = [c.x(0), c.x(1)];
  if (x.rank === 5 && w.rank === 5) return overVolume(c, x, w);
  const [image, kernel] = [asImage(c, x), asImage(c, w)];
  const groups = groupsOf(c);
  const { stride, padding, dilation } = windowOf(c, x.shape.slice(2), w.shape.slice(2));
  return likeInput(conv2d(image, kernel, c.optional(2), { stride, padding, dilation, groups }), x);
}

function groupsOf(c: Call): number {
  const groups = c.int('group', 1);
  return groups >= 1 ? groups : c.fail(`impossible group ${groups}`);
}

/** [B, C, D, H, W]: a transposed convolution over pictures for each depth of the kernel, laid where it falls. */
function transposedVolume(c: Call, x: Tensor, w: Tensor): Tensor {
  if (c.intList('output_shape') || c.string('auto_pad', 'NOTSET').startsWith('SAME')) {
    c.fail('a transposed convolution over volumes needs its padding as pads');
  }
  const groups = groupsOf(c);
  const windows = windowsOf(c, x.shape.slice(2), w.shape.slice(2)) as [AxisWindow, AxisWindow, AxisWindow];
  const extra = c.intList('output_padding') ?? [0, 0, 0];
  const [depth, v, h] = windows;
  const sides = windows.map(({ kernel, stride, dilation, before, after }, i) => {
    const whole = (x.shape[2 + i]! - 1) * stride + reach(kernel, dilation) + extra[i]!;
    return { whole, size: whole - before - after };
  });
  if (sides.some(({ size }) => size < 1)) c.fail(`nothing is left of ${x} within its padding`);
  const { stride, dilation, padding } = pictureWindow([v, h]);
  const options = { stride, dilation, padding, groups, outputSize: [sides[1]!.size, sides[2]!.size] as [number, number] };
  const [b, channels, d, height, width] = x.shape as [number, number, number, number, number];
  const planes = reshape(transpose(x, [0, 2, 1, 3, 4]), [b * d, channels, height, width]);
  const span = (d - 1) * depth.stride + 1;
  c.budget(b * w.shape[1]! * groups * sides[0]!.whole * sides[1]!.size * sides[2]!.size * depth.kernel);
  const taps = Array.from({ length: depth.kernel }, (_, k) => {
    const kernel = reshape(narrow(w, 2, k, k + 1), w.shape.toSpliced(2, 1));
    const made = convTranspose2d(planes, kernel, undefined, options);
    const [, m, oh, ow] = made.shape as [number, number, number, number];
    const deep = transpose(reshape(made, [b, d, m, oh, ow]), [0, 2, 1, 3, 4]);
    // Zeros between its planes, then where this depth of the kernel begins.
    const apart = pad(unsqueeze(deep, 3), [0, 0, 0, 0, 0, 0], [0, 0, 0, depth.stride - 1, 0, 0]);
    const spread = narrow(reshape(apart, [b, m, d * depth.stride, oh, ow]), 2, 0, span);
    const from = k * depth.dilation;
    return pad(spread, [0, 0, from, 0, 0], [0, 0, sides[0]!.whole - span - from, 0, 0]);
  });
  const whole = taps.reduce((s, t) => add(s, t));
  const y = narrow(whole, 2, depth.before, depth.before + sides[0]!.size);
  const bias = c.optional(2);
  return bias ? add(y, reshape(bias, [bias.size, 1, 1, 1])) : y;
}

/** The output size is given, follows from `auto_pad`, or from the padding. */
function transposed(c: Call): Tensor {
  const [x, w] = [c.x(0), c.x(1)];
  if (x.rank === 5 && w.rank === 5) return transposedVolume(c, x, w);
  const [image, kernel] = [asImage(c, x), asImage(c, w)];
  const groups = groupsOf(c);
  const { stride, dilation, ...window } = windowOf(c, x.shape.slice(2), w.shape.slice(2));
  const extra = twoAxes(c, c.intList('output_padding') ?? w.shape.slice(2).map(() => 0), 0);
  const asked = c.intList('output_shape');
  const auto = c.string('auto_pad', 'NOTSET');
  const perAxis = (f: (i: 0 | 1) => number): [number, number] => [f(0), f(1)];
  // What comes out without any padding.
  const whole = perAxis((i) => (image.shape[2 + i]! - 1) * stride[i] + reach(window.kernel[i], dilation[i]) + extra[i]);
  const options = { stride, dilation, groups };
  if (!asked && !auto.startsWith('SAME')) {
    const { padding } = window;
    const outputSize = perAxis((i) => whole[i] - padding[i] - padding[i + 2]!);
    return likeInput(convTranspose2d(image, kernel, c.optional(2), { ...options, padding, outputSize }), x);
  }
  const outputSize = asked ? twoAxes(c, asked, 1) : perAxis((i) => image.shape[2 + i]! * stride[i]);
  const padding = sharedPadding(perAxis((i) => whole[i] - outputSize[i]), auto === 'SAME_UPPER');
  return likeInput(convTranspose2d(image, kernel, c.optional(2), { ...options, padding, outputSize }), x);
}

export const convolutions: Readonly<Record<string, Operator>> = {
  Conv: convolution,
  ConvTranspose: transposed,
};
