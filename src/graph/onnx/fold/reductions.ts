/** @file Folding of reductions and running sums. */
import { sizeOf } from '../../dtype.js';
import type { DType } from '../../dtype.js';
import { INT64, allocate, attribute, broadcastStrides, cells, inRange, ints, strides, walk } from './views.js';
import type { Cell, Kernel } from './views.js';

type Combine = (total: number, v: number) => number;
/** What a reduction of nothing gives. */
type Start = (dtype: DType) => Cell;

const EXTREMES: Readonly<Record<string, readonly [Cell, Cell]>> = {
  float32: [-Infinity, Infinity],
  int64: [INT64.min, INT64.max],
  int32: [-(2 ** 31), 2 ** 31 - 1],
  int8: [-128, 127],
  uint8: [0, 255],
};
const number = (n: number): Start => (dtype) => (dtype === 'int64' ? BigInt(n) : n);
const lowest: Start = (dtype) => EXTREMES[dtype]?.[0] ?? 0;
const highest: Start = (dtype) => EXTREMES[dtype]?.[1] ?? 1;

/** Reduction over axes given as input 1. */
function reduction(combine: Combine, start: Start, mean = false): Kernel {
  return ([x, axes], _node, out) => {
    const reduced = new Set(ints(axes!));
    const kept = x!.shape.map((d, i) => (reduced.has(i) ? 1 : d));
    const result = allocate(out.dtype, sizeOf(kept));
    const [to, from] = [cells(result), cells(x!.data)];
    to.fill(start(out.dtype));
    walk(x!.shape, [broadcastStrides(kept, x!.shape)], (i, [at]) => {
      to[at!] = combine(to[at!] as number, from[i] as number);
    });
    const count = x!.data.length / to.length;
    if (mean) to.forEach((v, i) => (to[i] = typeof v === 'bigint' ? v / BigInt(count) : v / count));
    return result;
  };
}

const runningSum: Kernel = ([x, axisInput], node, out) => {
  const axis = inRange(cells(axisInput!.data)[0]!, out.shape.length);
  const [exclusive, reverse] = [attribute(node, 'exclusive', 0) === 1, attribute(node, 'reverse', 0) === 1];
  const result = allocate(out.dtype, sizeOf(out.shape));
  const [to, from] = [cells(result), cells(x!.data)];
  const own = strides(out.shape);
  const n = out.shape[axis]!;
  walk(out.shape.with(axis, 1), [own], (_i, [base]) => {
    let total: Cell = out.dtype === 'int64' ? 0n : 0;
    for (let k = 0; k < n; k++) {
      const at = base! + (reverse ? n - 1 - k : k) * own[axis]!;
      const next: Cell = (total as number) + (from[at] as number);
      to[at] = exclusive ? total : next;
      total = next;
    }
  });
  return result;
};

export const reductions: Readonly<Record<string, Kernel>> = {
  ReduceSum: reduction((a, b) => a + b, number(0)),
  ReduceMean: reduction((a, b) => a + b, number(0), true),
  ReduceProd: reduction((a, b) => a * b, number(1)),
  ReduceMax: reduction((a, b) => (b > a ? b : a), lowest),
  ReduceMin: reduction((a, b) => (b < a ? b : a), highest),
  CumSum: runningSum,
};
