/**
 * @file LPIPS (Zhang et al., arXiv 1801.03924), version 0.1: how different two pictures look, by the features of a
 * classification network, weighted by what people judged. Trunks under torchvision's names, weights as the package lpips
 * publishes them (lin0.model.1.weight …).
 */
import { relu } from '../graph/ops/activation.js';
import { add, div, mul, sqrt, square, sub } from '../graph/ops/arithmetic.js';
import { conv2d } from '../graph/ops/conv.js';
import { concat } from '../graph/ops/layout.js';
import { maxPool2d } from '../graph/ops/pool.js';
import { mean, sum } from '../graph/ops/reduce.js';
import { literal } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import type { Scope } from '../nn/scope.js';

const layer = (scope: Scope, x: Tensor, channels: number, kernel: number, stride = 1, padding = 0): Tensor =>
  relu(conv2d(x, scope.weight('weight', [channels, x.shape[1]!, kernel, kernel]), scope.weight('bias', [channels]), { stride, padding }));

/** AlexNet's five layers. */
function alex(s: Scope, x: Tensor): Tensor[] {
  const pooled = (y: Tensor): Tensor => maxPool2d(y, { kernel: 3, stride: 2 });
  const first = layer(s.at(0), x, 64, 11, 4, 2);
  const second = layer(s.at(3), pooled(first), 192, 5, 1, 2);
  const third = layer(s.at(6), pooled(second), 384, 3, 1, 1);
  const fourth = layer(s.at(8), third, 256, 3, 1, 1);
  return [first, second, third, fourth, layer(s.at(10), fourth, 256, 3, 1, 1)];
}

/** VGG-16's five blocks. */
function vgg(s: Scope, x: Tensor): Tensor[] {
  const states: Tensor[] = [];
  let at = 0;
  let y = x;
  for (const [channels, count] of [[64, 2], [128, 2], [256, 3], [512, 3], [512, 3]] as const) {
    if (at > 0) y = maxPool2d(y, { kernel: 2, stride: 2 });
    for (let i = 0; i < count; i++, at += 2) y = layer(s.at(at), y, channels, 3, 1, 1);
    at += 1;
    states.push(y);
  }
  return states;
}

/** SqueezeNet 1.1: seven states. */
function squeeze(s: Scope, x: Tensor): Tensor[] {
  const fire = (at: number, y: Tensor, small: number, large: number): Tensor => {
    const squeezed = layer(s.at(at).at('squeeze'), y, small, 1);
    return concat([layer(s.at(at).at('expand1x1'), squeezed, large, 1), layer(s.at(at).at('expand3x3'), squeezed, large, 3, 1, 1)], 1);
  };
  const pooled = (y: Tensor): Tensor => maxPool2d(y, { kernel: 3, stride: 2, ceil: true });
  const one = layer(s.at(0), x, 64, 3, 2);
  const two = fire(4, fire(3, pooled(one), 16, 64), 16, 64);
  const three = fire(7, fire(6, pooled(two), 32, 128), 32, 128);
  const four = fire(9, pooled(three), 48, 192);
  const five = fire(10, four, 48, 192);
  const six = fire(11, five, 64, 256);
  return [one, two, three, four, five, six, fire(12, six, 64, 256)];
}

export const LPIPS_TRUNKS = { alex, vgg, squeeze } as const;
export type LpipsTrunk = keyof typeof LPIPS_TRUNKS;

/** Of pictures in [−1, 1], as the package's scaling layer has them. */
const [SHIFT, SCALE] = [[-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]];

/**
 * The distances of pictures a and b, [B, 3, H, W] in [0, 1], pair by pair: [B]. At their own size, as the package has it.
 * The trunk's weights are asked for under `features`, the others under `linN`.
 */
export function lpips(scope: Scope, trunk: LpipsTrunk, a: Tensor, b: Tensor): Tensor {
  const scaled = (x: Tensor): Tensor => div(sub(sub(mul(x, 2), 1), literal(SHIFT!, [3, 1, 1])), literal(SCALE!, [3, 1, 1]));
  const unit = (x: Tensor): Tensor => div(x, add(sqrt(sum(square(x), { axes: [1], keepDims: true })), 1e-10));
  const states = [a, b].map((x) => LPIPS_TRUNKS[trunk](scope.at('features'), scaled(x)).map(unit)) as [Tensor[], Tensor[]];
  return states[0].map((first, i) => {
    const difference = square(sub(first, states[1][i]!));
    const weights = scope.at(`lin${i}`).at('model.1').weight('weight', [1, first.shape[1]!, 1, 1]);
    return mean(sum(mul(difference, weights), { axes: [1] }), { axes: [1, 2] });
  }).reduce((x, y) => add(x, y));
}
