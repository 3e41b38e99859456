/** @file ONNX convolution and its transpose, over one or two axes. */
import { conv2d, convTranspose2d } from '../../ops/conv.js';
import type { Tensor } from '../../tensor.js';
import type { Call, Operator } from '../call.js';
import { asImage, likeInput, twoAxes, windowOf } from './window.js';
import type { Window } from './window.js';

function convolution(c: Call): Tensor {
  const [x, w] = [c.x(0), c.x(1)];
  const [image, kernel] = [asImage(c, x), asImage(c, w)];
  const groups = groupsOf(c);
  const { stride, padding, dilation } = windowOf(c, image.shape.slice(2), w.shape.slice(2));
  return likeInput(conv2d(image, kernel, c.optional(2), { stride, padding, dilation, groups }), x);
}

function groupsOf(c: Call): number {
  const groups = c.int('group', 1);
  return groups >= 1 ? groups : c.fail(`impossible group ${groups}`);
}

/** Where padding is to follow from the output size, `total` of it is taken off, the odd element from the end for SAME_UPPER. */
function transposedPadding(c: Call, window: Window, image: Tensor, size: readonly [number, number], extra: readonly number[]): Window['padding'] {
  const upper = c.string('auto_pad', 'NOTSET') === 'SAME_UPPER';
  const [vertical, horizontal] = ([0, 1] as const).map((i) => {
    const reach = (window.kernel[i] - 1) * window.dilation[i] + 1;
    const total = Math.max(0, (image.shape[2 + i]! - 1) * window.stride[i] + extra[i]! + reach - size[i]);
    const small = Math.floor(total / 2);
    return upper ? [small, total - small] : [total - small, small];
  }) as [[number, number], [number, number]];
  return [vertical[0], horizontal[0], vertical[1], horizontal[1]];
}

function transposed(c: Call): Tensor {
  const [x, w] = [c.x(0), c.x(1)];
  const [image, kernel] = [asImage(c, x), asImage(c, w)];
  const groups = groupsOf(c);
  const window = windowOf(c, image.shape.slice(2), w.shape.slice(2));
  const extra = twoAxes(c, c.intList('output_padding') ?? w.shape.slice(2).map(() => 0), 0);
  const asked = c.intList('output_shape');
  const auto = c.string('auto_pad', 'NOTSET').startsWith('SAME');
  const grown = ([0, 1] as const).map((i) => image.shape[2 + i]! * window.stride[i]) as [number, number];
  const wanted = asked ? twoAxes(c, asked, 1) : auto ? grown : null;
  const padding = wanted ? transposedPadding(c, window, image, wanted, extra) : window.padding;
  const outputSize = wanted ?? (([0, 1] as const).map((i) => {
    const reach = (window.kernel[i] - 1) * window.dilation[i] + 1;
    return (image.shape[2 + i]! - 1) * window.stride[i] + reach + extra[i] - padding[i]! - padding[i + 2]!;
  }) as [number, number]);
  const options = { stride: window.stride, dilation: window.dilation, padding, groups, outputSize };
  return likeInput(convTranspose2d(image, kernel, c.optional(2), options), x);
}

export const convolutions: Readonly<Record<string, Operator>> = {
  Conv: convolution,
  ConvTranspose: transposed,
};
