/** @file Element-wise arithmetic with NumPy broadcasting: binary operators, powers, comparisons, selection. */
import { isFloat } from '../dtype.js';
import type { DType } from '../dtype.js';
import { traceError } from '../errors.js';
import { apply, full, lift } from '../tensor.js';
import type { Operand, Tensor, Vjp } from '../tensor.js';
import { broadcastShapes, sumTo } from './shape.js';

function operands(op: string, a: Operand, b: Operand): [Tensor, Tensor] {
  if (typeof a === 'number' && typeof b === 'number') traceError(op, 'at least one operand must be a tensor');
  const like = typeof a === 'number' ? (b as Tensor) : a;
  const [x, y] = [lift(a, like), lift(b, like)];
  if (x.dtype !== y.dtype) traceError(op, `dtypes ${x} and ${y} differ; cast one of them`);
  return [x, y];
}

type Rule = (g: Tensor, x: Tensor, y: Tensor, out: Tensor) => Tensor;

function binary(op: string, a: Operand, b: Operand, byX: Rule | null, byY: Rule | null, dtype?: DType): Tensor {
  const [x, y] = operands(op, a, b);
  const shape = broadcastShapes(op, x.shape, y.shape);
  const rule = (of: Rule | null, to: Tensor): Vjp | null => of && ((g) => sumTo(of(g, x, y, out), to.shape));
  const out: Tensor = apply(
    { op, inputs: [x, y], vjps: [rule(byX, x), rule(byY, y)] },
    shape,
    dtype ?? x.dtype,
  );
  return out;
}

export function add(a: Operand, b: Operand): Tensor {
  if (b === 0 && typeof a !== 'number') return a;
  return binary('Add', a, b, (g) => g, (g) => g);
}

export function sub(a: Operand, b: Operand): Tensor {
  return binary('Sub', a, b, (g) => g, (g) => neg(g));
}

export function mul(a: Operand, b: Operand): Tensor {
  if (b === 1 && typeof a !== 'number') return a;
  return binary('Mul', a, b, (g, _x, y) => mul(g, y), (g, x) => mul(g, x));
}

export function div(a: Operand, b: Operand): Tensor {
  return binary('Div', a, b, (g, _x, y) => div(g, y), (g, _x, y, out) => neg(div(mul(g, out), y)));
}

/**
 * xʸ for x > 0, or any x with a whole exponent. As in PyTorch, what is 0⁰ has no gradient by x, and what is 0ʸ with y ≥ 0
 * none by y.
 */
export function pow(a: Operand, b: Operand): Tensor {
  if (typeof a !== 'number') {
    // So that no derivative of a whole power becomes 0·x⁻¹, which is not a number at 0.
    if (b === 0) return full(a.shape, 1, a.dtype);
    if (b === 1) return a;
    if (b === 2) return square(a);
  }
  if (typeof b === 'number') return binary('Pow', a, b, (g, x, y) => mul(g, mul(y, pow(x, b - 1))), null);
  const byBase: Rule = (g, x, y) => {
    const none = equal(y, 0);
    return where(none, 0, mul(g, mul(y, pow(x, where(none, 1, sub(y, 1))))));
  };
  const byExponent: Rule = (g, x, y, out) => {
    const none = and(equal(x, 0), greaterEqual(y, 0));
    return where(none, 0, mul(g, mul(out, log(where(none, 1, x)))));
  };
  return binary('Pow', a, b, byBase, byExponent);
}

/**
 * Remainder with the sign of the divisor for integers, of the dividend for floats (C's fmod): x − y·trunc(x/y), so the
 * gradient by y is −trunc(x/y).
 */
export function mod(a: Operand, b: Operand): Tensor {
  const [x, y] = operands('Mod', a, b);
  const byY: Vjp = (g) => sumTo(neg(mul(g, roundHalfEven(div(sub(x, out), y)))), y.shape);
  const out: Tensor = apply(
    { op: 'Mod', inputs: [x, y], attributes: { fmod: isFloat(x.dtype) ? 1 : 0 }, vjps: [(g) => sumTo(g, x.shape), byY] },
    broadcastShapes('Mod', x.shape, y.shape),
    x.dtype,
  );
  return out;
}

/** Element-wise maximum; where both are equal the gradient goes to the first. */
export function maximum(a: Operand, b: Operand): Tensor {
  return binary(
    'Max', a, b,
    (g, x, y) => mul(g, cast(greaterEqual(x, y), g.dtype)),
    (g, x, y) => mul(g, cast(less(x, y), g.dtype)),
  );
}

/** Element-wise minimum; where both are equal the gradient goes to the first. */
export function minimum(a: Operand, b: Operand): Tensor {
  return binary(
    'Min', a, b,
    (g, x, y) => mul(g, cast(lessEqual(x, y), g.dtype)),
    (g, x, y) => mul(g, cast(greater(x, y), g.dtype)),
  );
}

/** Limits values to [low, high]; the gradient passes where low <= x <= high. */
export function clip(x: Tensor, low: number, high: number): Tensor {
  const inside: Vjp = (g) => mul(g, cast(and(greaterEqual(x, low), lessEqual(x, high)), g.dtype));
  return apply({ op: 'Clip', inputs: [x, lift(low, x), lift(high, x)], vjps: [inside] }, x.shape, x.dtype);
}

const compare = (op: string) => (a: Operand, b: Operand): Tensor => binary(op, a, b, null, null, 'bool');
export const equal = compare('Equal');
export const less = compare('Less');
export const lessEqual = compare('LessOrEqual');
export const greater = compare('Greater');
export const greaterEqual = compare('GreaterOrEqual');
export const and = compare('And');
export const or = compare('Or');

export function not(x: Tensor): Tensor {
  return apply({ op: 'Not', inputs: [x] }, x.shape, 'bool');
}

/** `condition ? a : b`, element by element, all three broadcast. */
export function where(condition: Tensor, a: Operand, b: Operand): Tensor {
  if (condition.dtype !== 'bool') traceError('Where', `the condition must be bool, not ${condition}`);
  const [x, y] = operands('Where', a, b);
  const shape = broadcastShapes('Where', condition.shape, broadcastShapes('Where', x.shape, y.shape));
  const byX: Vjp = (g) => sumTo(where(condition, g, 0), x.shape);
  const byY: Vjp = (g) => sumTo(where(condition, 0, g), y.shape);
  return apply({ op: 'Where', inputs: [condition, x, y], vjps: [null, byX, byY] }, shape, x.dtype);
}

/** Converts to another dtype; between float types the gradient is cast back. */
export function cast(x: Tensor, dtype: DType): Tensor {
  if (x.dtype === dtype) return x;
  const call = { op: 'Cast', inputs: [x], attributes: { to: { dtype } }, vjps: [(g: Tensor) => cast(g, x.dtype)] };
  return apply(call, x.shape, dtype);
}

function unary(op: string, x: Tensor, rule: ((g: Tensor, y: Tensor) => Tensor) | null): Tensor {
  const y: Tensor = apply({ op, inputs: [x], vjps: [rule && ((g) => rule(g, y))] }, x.shape, x.dtype);
  return y;
}

export const neg = (x: Tensor): Tensor => unary('Neg', x, (g) => neg(g));
export const exp = (x: Tensor): Tensor => unary('Exp', x, (g, y) => mul(g, y));
export const log = (x: Tensor): Tensor => unary('Log', x, (g) => div(g, x));
export const sqrt = (x: Tensor): Tensor => unary('Sqrt', x, (g, y) => div(mul(g, 0.5), y));
/** √x of a sum of squares: the gradient is 0 where x is 0, as that of a norm in PyTorch. */
export const sqrtOfSquares = (x: Tensor): Tensor => unary('Sqrt', x, (g, y) => {
  const none = equal(y, 0);
  return where(none, 0, div(mul(g, 0.5), where(none, 1, y)));
});
export const square = (x: Tensor): Tensor => mul(x, x);
export const reciprocal = (x: Tensor): Tensor => unary('Reciprocal', x, (g, y) => neg(mul(g, mul(y, y))));
/** 1/√x. */
export const rsqrt = (x: Tensor): Tensor => reciprocal(sqrt(x));
export const abs = (x: Tensor): Tensor => unary('Abs', x, (g) => mul(g, sign(x)));
export const sign = (x: Tensor): Tensor => unary('Sign', x, null);
export const sin = (x: Tensor): Tensor => unary('Sin', x, (g) => mul(g, cos(x)));
export const cos = (x: Tensor): Tensor => unary('Cos', x, (g) => neg(mul(g, sin(x))));
export const asin = (x: Tensor): Tensor => unary('Asin', x, (g) => div(g, sqrt(sub(1, square(x)))));
export const acos = (x: Tensor): Tensor => unary('Acos', x, (g) => neg(div(g, sqrt(sub(1, square(x))))));
export const atan = (x: Tensor): Tensor => unary('Atan', x, (g) => div(g, add(square(x), 1)));
export const sinh = (x: Tensor): Tensor => unary('Sinh', x, (g) => mul(g, cosh(x)));
export const cosh = (x: Tensor): Tensor => unary('Cosh', x, (g) => mul(g, sinh(x)));
export const asinh = (x: Tensor): Tensor => unary('Asinh', x, (g) => div(g, sqrt(add(square(x), 1))));
export const acosh = (x: Tensor): Tensor => unary('Acosh', x, (g) => div(g, sqrt(sub(square(x), 1))));
export const atanh = (x: Tensor): Tensor => unary('Atanh', x, (g) => div(g, sub(1, square(x))));
/** Error function; derivative 2/√π·exp(−x²). */
export const erf = (x: Tensor): Tensor =>
  unary('Erf', x, (g) => mul(g, mul(exp(neg(square(x))), 2 / Math.sqrt(Math.PI))));
export const tanh = (x: Tensor): Tensor => unary('Tanh', x, (g, y) => mul(g, sub(1, square(y))));
export const sigmoid = (x: Tensor): Tensor => unary('Sigmoid', x, (g, y) => mul(g, mul(y, sub(1, y))));
/** log(1 + eˣ). */
export const softplus = (x: Tensor): Tensor => unary('Softplus', x, (g) => mul(g, sigmoid(x)));
/** log σ(x), without overflow for large |x|. */
export const logSigmoid = (x: Tensor): Tensor => neg(softplus(neg(x)));
export const floor = (x: Tensor): Tensor => unary('Floor', x, null);
export const ceil = (x: Tensor): Tensor => unary('Ceil', x, null);
/** Rounds half to even; no gradient (see rounding.ts for those that have one). */
export const roundHalfEven = (x: Tensor): Tensor => unary('Round', x, null);
