/** @file Folding of operators that work element by element. */
import { sizeOf } from '../../dtype.js';
import type { DType, HostTensor } from '../../dtype.js';
import { halfToEven } from '../../half-to-even.js';
import { INT64, allocate, attribute, broadcastStrides, cells, walk } from './views.js';
import type { Cell, Kernel } from './views.js';

/** A float as int64: towards zero, saturating, NaN as 0. */
function toInt64(v: number): bigint {
  if (Number.isNaN(v)) return 0n;
  if (Math.abs(v) >= 2 ** 63) return v > 0 ? INT64.max : INT64.min;
  return BigInt(Math.trunc(v));
}

/** Brings a result to the output's kind of cell. */
function cellFor(dtype: DType): (v: Cell | boolean) => Cell {
  if (dtype === 'int64') return (v) => (typeof v === 'bigint' ? v : toInt64(Number(v)));
  if (dtype === 'bool') return (v) => (v ? 1 : 0);
  return (v) => Number(v);
}

type Scalar = (...xs: never[]) => Cell | boolean;

function broadcast(f: Scalar): Kernel {
  return (inputs, _node, out) => {
    const result = allocate(out.dtype, sizeOf(out.shape));
    const to = cells(result);
    const data = inputs.map((t) => cells(t.data));
    const finish = cellFor(out.dtype);
    const args: Cell[] = data.map(() => 0);
    walk(out.shape, inputs.map((t) => broadcastStrides(t.shape, out.shape)), (i, at) => {
      at.forEach((p, k) => (args[k] = data[k]![p]!));
      to[i] = finish(f(...(args as never[])));
    });
    return result;
  };
}

function refuseZeros({ data }: HostTensor): void {
  if (cells(data).some((d) => Number(d) === 0)) throw new Error('division of integers by zero');
}

/** Integers divide towards zero, and not by zero. */
const divide: Kernel = (inputs, node, out) => {
  if (out.dtype === 'float32') return broadcast((a: number, b: number) => a / b)(inputs, node, out);
  refuseZeros(inputs[1]!);
  const whole = (a: Cell, b: Cell): Cell => (typeof a === 'bigint' ? a / (b as bigint) : Math.trunc(a / (b as number)));
  return broadcast(whole)(inputs, node, out);
};

/** The sign of the divisor for integers, of the dividend for floats or with `fmod`. */
const remainder: Kernel = (inputs, node, out) => {
  const fmod = attribute(node, 'fmod', 0) === 1;
  if (out.dtype !== 'float32') refuseZeros(inputs[1]!);
  const rest = <T extends Cell>(a: T, b: T): Cell => {
    const r = ((a as number) % (b as number)) as Cell;
    return fmod || Number(r) === 0 || r < 0 === b < 0 ? r : (r as number) + (b as number);
  };
  return broadcast(rest)(inputs, node, out);
};

const SCALARS: Readonly<Record<string, Scalar>> = {
  Add: (a: number, b: number) => a + b,
  Sub: (a: number, b: number) => a - b,
  Mul: (a: number, b: number) => a * b,
  Pow: (a: Cell, b: Cell) => Math.pow(Number(a), Number(b)),
  Max: (a: Cell, b: Cell) => (a > b ? a : b),
  Min: (a: Cell, b: Cell) => (a < b ? a : b),
  Neg: (a: number) => -a,
  Abs: (a: number) => (a < 0 ? -a : a),
  Sign: (a: Cell) => (a > 0 ? 1 : a < 0 ? -1 : 0),
  Exp: Math.exp,
  Log: Math.log,
  Sqrt: Math.sqrt,
  Reciprocal: (a: number) => 1 / a,
  Sin: Math.sin,
  Cos: Math.cos,
  Tanh: Math.tanh,
  Floor: Math.floor,
  Ceil: Math.ceil,
  Round: halfToEven,
  Equal: (a: Cell, b: Cell) => a === b,
  Less: (a: Cell, b: Cell) => a < b,
  LessOrEqual: (a: Cell, b: Cell) => a <= b,
  Greater: (a: Cell, b: Cell) => a > b,
  GreaterOrEqual: (a: Cell, b: Cell) => a >= b,
  And: (a: Cell, b: Cell) => Boolean(a) && Boolean(b),
  Or: (a: Cell, b: Cell) => Boolean(a) || Boolean(b),
  Not: (a: Cell) => !a,
  Where: (c: Cell, a: Cell, b: Cell) => (c ? a : b),
  Clip: (a: Cell, low: Cell, high: Cell) => (a > high || low > high ? high : a < low ? low : a),
  Cast: (a: Cell) => a,
};

export const elementwise: Readonly<Record<string, Kernel>> = {
  ...Object.fromEntries(Object.entries(SCALARS).map(([op, f]) => [op, broadcast(f)])),
  Div: divide,
  Mod: remainder,
};
