/** @file Rounding to whole numbers with a gradient to speak of. */
import { straightThrough } from '../grad.js';
import type { Tensor } from '../tensor.js';
import { add, mul, roundHalfEven, square, sub } from './arithmetic.js';

/** Rounds (half to even); the gradient passes as if it did not (straight-through, Bengio et al. 2013). */
export const roundStraightThrough = (x: Tensor): Tensor => straightThrough(roundHalfEven(x), x);

/** ⌊x⌉ + (x − ⌊x⌉)³: nearly rounded, with gradient 3(x − ⌊x⌉)² (Shin & Song 2017, for JPEG's quantisation). */
export function roundSmooth(x: Tensor): Tensor {
  const whole = roundHalfEven(x);
  const rest = sub(x, whole);
  return add(whole, mul(square(rest), rest));
}
