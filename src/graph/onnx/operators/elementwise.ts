/** @file ONNX operators that work element by element, with broadcasting. */
import { isFloat } from '../../dtype.js';
import type { DType } from '../../dtype.js';
import {
  abs, acos, acosh, add, and, asin, asinh, atan, atanh, cast, ceil, clip, cos, cosh, div, equal, erf, exp, floor, greater, greaterEqual, less, lessEqual, log,
  maximum, minimum, mod, mul, neg, not, or, pow, reciprocal, roundHalfEven, sigmoid, sign, sin, sinh, sqrt, sub, tanh, where,
} from '../../ops/arithmetic.js';
import { full } from '../../tensor.js';
import type { Tensor } from '../../tensor.js';
import type { Call, Operator } from '../call.js';

const unary = (f: (x: Tensor) => Tensor): Operator => (c) => f(c.x(0));
const binary = (f: (a: Tensor, b: Tensor) => Tensor): Operator => (c) => f(c.x(0), c.x(1));
const variadic = (f: (a: Tensor, b: Tensor) => Tensor): Operator => (c) => c.all().reduce((a, b) => f(a, b));

/** The base may be of another dtype than the exponent. A constant exponent keeps the gradient at negative bases. */
function power(c: Call): Tensor {
  const [x, y] = [c.x(0), c.x(1)];
  const known = c.known(y);
  if (isFloat(x.dtype) && known?.data.length === 1 && y.rank <= x.rank) return pow(x, Number(known.data[0]));
  return pow(x, cast(y, x.dtype));
}

/** `fmod` 1 (floats always): the sign of the dividend; 0: that of the divisor. */
function remainder(c: Call): Tensor {
  const [x, y] = [c.x(0), c.x(1)];
  const fmod = c.int('fmod', 0) === 1;
  if (fmod === isFloat(x.dtype)) return mod(x, y);
  if (!fmod) c.fail('a remainder of floats needs fmod = 1');
  return sub(x, mul(div(x, y), y)); // integers divide towards zero
}

/** Computes `f` in int32 where ONNX Runtime cannot do so in the dtype of `x`. */
export function throughInt32(x: Tensor, dtypes: readonly DType[], f: (x: Tensor) => Tensor): Tensor {
  return dtypes.includes(x.dtype) ? cast(f(cast(x, 'int32')), x.dtype) : f(x);
}

/** Limits are attributes up to operator set 10, optional inputs from 11 on. */
function clipped(c: Call): Tensor {
  const x = c.x(0);
  const limit = (i: number, name: string): Tensor | number | undefined => {
    const t = c.optional(i);
    const known = t && c.known(t);
    if (known?.data.length === 1 && isFloat(x.dtype)) return Number(known.data[0]);
    return t ?? c.float(name);
  };
  const [low, high] = [limit(1, 'min'), limit(2, 'max')];
  if (low === undefined && high === undefined) return x;
  if (isFloat(x.dtype) && typeof (low ?? 0) === 'number' && typeof (high ?? 0) === 'number') {
    return clip(x, (low as number | undefined) ?? -Infinity, (high as number | undefined) ?? Infinity);
  }
  const raised = low === undefined ? x : maximum(x, low);
  return high === undefined ? raised : minimum(raised, high);
}

function isInfinite(c: Call): Tensor {
  const x = c.x(0);
  const [down, up] = [c.int('detect_negative', 1) === 1, c.int('detect_positive', 1) === 1];
  if (down && up) return equal(abs(x), Infinity);
  return up ? equal(x, Infinity) : down ? equal(x, -Infinity) : full(x.shape, 0, 'bool');
}

/** Between float types nothing happens: all are computed in float32. */
function converted(c: Call): Tensor {
  c.ignore('saturate', 'round_mode');
  return cast(c.x(0), c.dtype('to') ?? c.fail('attribute to is missing'));
}

/** Does nothing, as at inference. */
function dropout(c: Call): Tensor[] {
  c.ignore('ratio', 'seed', 'is_test');
  c.optional(1);
  if (c.optional(2) && c.scalar(2) !== 0) c.fail('training mode is not supported: export the model for inference');
  const x = c.x(0);
  return [x, full(x.shape, 1, 'bool')];
}

export const elementwise: Readonly<Record<string, Operator>> = {
  Add: binary(add),
  Sub: binary(sub),
  Mul: binary(mul),
  Div: binary(div),
  Pow: power,
  Mod: remainder,
  Max: variadic(maximum),
  Min: variadic(minimum),
  Sum: variadic(add),
  Mean: (c) => div(c.all().reduce((a, b) => add(a, b)), c.inputs.length),
  Neg: unary(neg),
  Abs: unary(abs),
  Sign: unary(sign),
  Sqrt: unary(sqrt),
  Reciprocal: unary(reciprocal),
  Exp: unary(exp),
  Log: unary(log),
  Sin: unary(sin),
  Cos: unary(cos),
  Tan: unary((x) => div(sin(x), cos(x))),
  Asin: unary(asin),
  Acos: unary(acos),
  Atan: unary(atan),
  Sinh: unary(sinh),
  Cosh: unary(cosh),
  Asinh: unary(asinh),
  Acosh: unary(acosh),
  Atanh: unary(atanh),
  Erf: unary(erf),
  Tanh: unary(tanh),
  Sigmoid: unary(sigmoid),
  Floor: unary(floor),
  Ceil: unary(ceil),
  Round: unary(roundHalfEven),
  Equal: binary(equal),
  Less: binary(less),
  LessOrEqual: binary(lessEqual),
  Greater: binary(greater),
  GreaterOrEqual: binary(greaterEqual),
  And: binary(and),
  Or: binary(or),
  Xor: binary((a, b) => not(equal(a, b))),
  Not: unary(not),
  IsNaN: unary((x) => not(equal(x, x))),
  IsInf: isInfinite,
  Where: (c) => throughInt32(c.x(1), ['int8', 'bool'], (x) => where(c.x(0), x, x === c.x(1) ? c.x(2) : cast(c.x(2), x.dtype))),
  Clip: clipped,
  Cast: converted,
  CastLike: (c) => {
    c.ignore('saturate', 'round_mode');
    return cast(c.x(0), c.x(1).dtype);
  },
  Identity: unary((x) => x),
  Dropout: dropout,
};
