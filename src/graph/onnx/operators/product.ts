/** @file ONNX matrix products and einsum. */
import { sizeOf } from '../../dtype.js';
import { add, mul } from '../../ops/arithmetic.js';
import { gather } from '../../ops/gather.js';
import { reshape, swapLast, transpose } from '../../ops/layout.js';
import { gemm, matmul } from '../../ops/matmul.js';
import { sum } from '../../ops/reduce.js';
import { literal } from '../../tensor.js';
import type { Tensor } from '../../tensor.js';
import type { Call, Operator } from '../call.js';
import { quoted } from '../error.js';

/** A vector counts as a row on the left and as a column on the right, and its axis is taken away again. */
export function anyMatmul(a: Tensor, b: Tensor): Tensor {
  const left = a.rank === 1 ? reshape(a, [1, a.size]) : a;
  const right = b.rank === 1 ? reshape(b, [b.size, 1]) : b;
  const y = matmul(left, right);
  const shape = [...y.shape];
  if (b.rank === 1) shape.pop();
  if (a.rank === 1) shape.splice(b.rank === 1 ? -1 : -2, 1);
  return reshape(y, shape);
}

/** alpha·op(A)·op(B) + beta·C with C [N] or anything that broadcasts to [M, N]. */
function gemmOf(c: Call): Tensor {
  const [a, b, bias] = [c.x(0), c.x(1), c.optional(2)];
  const [alpha, beta] = [c.float('alpha', 1), c.float('beta', 1)];
  const [ta, tb] = [c.int('transA', 0) !== 0, c.int('transB', 0) !== 0];
  if (a.rank !== 2 || b.rank !== 2) c.fail(`takes matrices, not ${a} and ${b}`);
  const n = tb ? b.shape[0] : b.shape[1];
  if (bias && alpha === 1 && beta === 1 && bias.rank === 1 && bias.shape[0] === n) return gemm(a, b, ta, tb, bias);
  const product = mul(gemm(a, b, ta, tb), alpha);
  return bias ? add(product, mul(bias, beta)) : product;
}

/** Labels of an operand; an ellipsis stands for what its letters leave over, counted from the right. */
function labelsOf(term: string, rank: number, c: Call): string[] {
  const parts = term.split('...');
  const letters = [...parts.join('')];
  if (parts.length > 2 || letters.some((l) => !/[A-Za-z]/.test(l))) c.fail(`cannot read the term ${quoted(term)}`);
  const hidden = parts.length === 2 ? rank - letters.length : 0;
  if (hidden < 0 || letters.length + hidden !== rank) c.fail(`the term ${quoted(term)} does not fit rank ${rank}`);
  const ellipsis = Array.from({ length: hidden }, (_, i) => String(hidden - 1 - i));
  return [...parts[0]!, ...ellipsis, ...(parts[1] ?? '')];
}

/** A tensor whose axes have names. */
interface Labelled {
  x: Tensor;
  labels: string[];
}

const order = ({ x, labels }: Labelled, wanted: readonly string[]): Tensor =>
  transpose(x, wanted.map((l) => labels.indexOf(l)));

/** Sums over axes that nothing else needs. */
function dropAxes({ x, labels }: Labelled, needed: ReadonlySet<string>): Labelled {
  const axes = labels.flatMap((l, i) => (needed.has(l) ? [] : [i]));
  return axes.length ? { x: sum(x, { axes }), labels: labels.filter((l) => needed.has(l)) } : { x, labels };
}

/** The product of two labelled tensors, summed over the labels that are not needed, as one batched matrix product. */
function contract(a: Labelled, b: Labelled, needed: ReadonlySet<string>): Labelled {
  const both = a.labels.filter((l) => b.labels.includes(l));
  const batch = both.filter((l) => needed.has(l));
  const inner = both.filter((l) => !needed.has(l));
  const left = dropAxes(a, new Set([...needed, ...inner]));
  const right = dropAxes(b, new Set([...needed, ...inner]));
  const rows = left.labels.filter((l) => !both.includes(l));
  const columns = right.labels.filter((l) => !both.includes(l));
  const lengths = (t: Labelled, labels: readonly string[]): number[] =>
    labels.map((l) => t.x.shape[t.labels.indexOf(l)]!);
  const [k, m, n] = [lengths(left, inner), lengths(left, rows), lengths(right, columns)];
  const batches = batch.map((l, i) => Math.max(lengths(left, [l])[0]!, lengths(right, batch)[i]!));
  const product = matmul(
    reshape(order(left, [...batch, ...rows, ...inner]), [...lengths(left, batch), sizeOf(m), sizeOf(k)]),
    swapLast(reshape(order(right, [...batch, ...columns, ...inner]), [...lengths(right, batch), sizeOf(n), sizeOf(k)])),
  );
  return { x: reshape(product, [...batches, ...m, ...n]), labels: [...batch, ...rows, ...columns] };
}

/** The diagonal over axes that share a label, until each has its own. */
function diagonals({ x, labels }: Labelled, c: Call): Labelled {
  const second = labels.findIndex((l, i) => labels.indexOf(l) < i);
  if (second < 0) return { x, labels };
  const first = labels.indexOf(labels[second]!);
  const [n, m] = [x.shape[first]!, x.shape[second]!];
  if (n !== m) c.fail(`the label ${labels[second]} stands for axes of ${n} and ${m}`);
  c.budget(n);
  const others = labels.map((_, i) => i).filter((i) => i !== first && i !== second);
  const kept = others.map((i) => x.shape[i]!);
  const flat = reshape(transpose(x, [...others, first, second]), [...kept, n * n]);
  const places = literal(Array.from({ length: n }, (_, i) => i * (n + 1)), [n], 'int64');
  return diagonals({ x: gather(flat, places, kept.length), labels: [...others.map((i) => labels[i]!), labels[first]!] }, c);
}


function einsum(c: Call): Tensor {
  const equation = c.string('equation', '').replaceAll(' ', '');
  const [left = '', right] = equation.split('->');
  const terms = left.split(',');
  const operands = c.all();
  if (terms.length !== operands.length) c.fail(`equation ${quoted(equation)} does not fit ${operands.length} inputs`);
  const whole = operands.map((x, i): Labelled => ({ x, labels: labelsOf(terms[i]!, x.rank, c) }));
  const every = whole.flatMap(({ labels }) => labels);
  const given = whole.map((term) => diagonals(term, c));
  const hidden = [...new Set(every.filter((l) => /\d/.test(l)))].toSorted((a, b) => Number(b) - Number(a));
  // Without an arrow: the ellipsis, then the labels that occur once, in alphabetical order.
  const once = every.filter((l) => !/\d/.test(l) && every.indexOf(l) === every.lastIndexOf(l)).toSorted();
  const shown = right?.replace('...', '').length ?? 0;
  const wanted = right === undefined ? [...hidden, ...once] : labelsOf(right, hidden.length + shown, c);
  const result = given.slice(1).reduce((a, b, i) => {
    const later = given.slice(i + 2).flatMap(({ labels }) => labels);
    return contract(a, b, new Set([...wanted, ...later]));
  }, given[0]!);
  const summed = dropAxes(result, new Set(wanted));
  if (wanted.some((l) => !summed.labels.includes(l))) c.fail(`${quoted(equation)} makes a label from nothing`);
  return order(summed, wanted);
}

export const product: Readonly<Record<string, Operator>> = {
  MatMul: (c) => anyMatmul(c.x(0), c.x(1)),
  Gemm: gemmOf,
  Einsum: einsum,
};
