/** @file ONNX convolution and its transpose, over one or two axes. */
import { conv2d, convTranspose2d } from '../../ops/conv.js';
import type { Tensor } from '../../tensor.js';
import type { Call, Operator } from '../call.js';
import { asImage, likeInput, reach, sharedPadding, twoAxes, windowOf } from './window.js';

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

/** The output size is given, follows from `auto_pad`, or from the padding. */
function transposed(c: Call): Tensor {
  const [x, w] = [c.x(0), c.x(1)];
  const [image, kernel] = [asImage(c, x), asImage(c, w)];
  const groups = groupsOf(c);
  const { stride, dilation, ...window } = windowOf(c, image.shape.slice(2), w.shape.slice(2));
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
