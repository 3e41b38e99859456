/** @file ONNX LSTM, GRU and RNN, written out step by step: the length of the sequence is known. */
import { relu } from '../../ops/activation.js';
import { add, mul, sigmoid, sub, tanh } from '../../ops/arithmetic.js';
import { narrow, reshape, stack, transpose } from '../../ops/layout.js';
import { gemm } from '../../ops/matmul.js';
import { full } from '../../tensor.js';
import type { Tensor } from '../../tensor.js';
import type { Call, Operator } from '../call.js';
import { quoted } from '../error.js';

type Activation = (x: Tensor) => Tensor;
const ACTIVATIONS: ReadonlyMap<string, Activation> = new Map([['sigmoid', sigmoid], ['tanh', tanh], ['relu', relu]]);

/** Hidden state, and cell state of an LSTM: [B, H] each. */
type State = readonly Tensor[];

/** What one direction of a network computes in a step, from x·Wᵀ + biases [B, gates·H] and the state. */
type Cell = (projected: Tensor, state: State) => State;

/** Weights of one direction. */
interface Direction {
  /** [gates·H, I] */
  readonly w: Tensor;
  /** [gates·H, H] */
  readonly r: Tensor;
  /** Biases of w and of r, [gates·H] each. */
  readonly biases: readonly [Tensor, Tensor] | null;
  /** An LSTM's weights from the cell state to its gates, in the order input, output, forget: [H] each. */
  readonly peepholes: readonly Tensor[] | null;
  readonly functions: readonly Activation[];
  readonly hidden: number;
}

const gatesOf = (x: Tensor, hidden: number): Tensor[] =>
  Array.from({ length: x.shape[1]! / hidden }, (_, i) => narrow(x, 1, i * hidden, (i + 1) * hidden));
const plus = (x: Tensor, b: Tensor | undefined): Tensor => (b ? add(x, b) : x);

/** Gates in the order input, output, forget, cell. */
const lstm = ({ r, biases, peepholes, functions: [f, g, h], hidden }: Direction): Cell => (projected, [before, cell]) => {
  const [i, o, forget, c] = gatesOf(plus(add(projected, gemm(before!, r, false, true)), biases?.[1]), hidden) as [Tensor, Tensor, Tensor, Tensor];
  const seeing = (x: Tensor, at: number, state: Tensor): Tensor => (peepholes ? add(x, mul(peepholes[at]!, state)) : x);
  const next = add(mul(f!(seeing(forget, 2, cell!)), cell!), mul(f!(seeing(i, 0, cell!)), g!(c)));
  return [mul(f!(seeing(o, 1, next)), h!(next)), next];
};

/** Gates in the order update, reset, hidden; the reset acts on the state before or after its product with r. */
const gru = (after: boolean) => ({ r, biases, functions: [f, g], hidden }: Direction): Cell => (projected, [before]) => {
  const part = (t: Tensor, from: number, to: number): Tensor => narrow(t, 0, from * hidden, to * hidden);
  const [z, reset, fresh] = gatesOf(projected, hidden) as [Tensor, Tensor, Tensor];
  const bias = (i: number): Tensor | undefined => biases?.[1] && part(biases[1], i, i + 1);
  const again = (h: Tensor, i: number): Tensor => plus(gemm(h, part(r, i, i + 1), false, true), bias(i));
  const [update, open] = [f!(add(z, again(before!, 0))), f!(add(reset, again(before!, 1)))];
  const inner = after ? mul(open, again(before!, 2)) : again(mul(open, before!), 2);
  return [add(mul(sub(1, update), g!(add(fresh, inner))), mul(update, before!))];
};

const simple = ({ r, biases, functions: [f] }: Direction): Cell => (projected, [before]) =>
  [f!(plus(add(projected, gemm(before!, r, false, true)), biases?.[1]))];

interface Kind {
  readonly gates: number;
  /** Default activation functions, and states, of each direction. */
  readonly functions: readonly string[];
  readonly states: number;
  readonly cell: (c: Call) => (d: Direction) => Cell;
}

function checkLengths(c: Call, length: number): void {
  const lengths = c.optional(4);
  if (!lengths) return;
  const known = c.known(lengths);
  if (!known || Array.from(known.data as Int32Array).some((l) => Number(l) !== length)) {
    c.fail('sequences of different or unknown lengths are not supported');
  }
}

const recurrent = ({ gates, functions, states, cell }: Kind): Operator => (c) => {
  const batchFirst = c.int('layout', 0) === 1;
  /** [B, L, …] ⇄ [L, B, …] */
  const turned = (t: Tensor): Tensor => (batchFirst ? transpose(t, [1, 0, ...t.shape.map((_, i) => i).slice(2)]) : t);
  const x = turned(c.x(0)); // [L, B, I]
  const [w, r, b] = [c.x(1), c.x(2), c.optional(3)];
  const [length, batch, width] = x.rank === 3 ? (x.shape as [number, number, number]) : c.fail(`takes [L, B, I], not ${x}`);
  const hidden = c.int('hidden_size', r.shape[2]!);
  const direction = c.string('direction', 'forward');
  if (!['forward', 'reverse', 'bidirectional'].includes(direction)) c.fail(`direction ${quoted(direction)} is not known`);
  checkLengths(c, length);
  if (c.float('clip') !== undefined || c.int('input_forget', 0) !== 0) c.fail('clip and input_forget are not supported');
  const directions = direction === 'bidirectional' ? 2 : 1;
  const names = c.strings('activations') ?? Array.from({ length: directions }, () => functions).flat();
  const chosen = names.map((n) => ACTIVATIONS.get(n.toLowerCase()) ?? c.fail(`activation ${quoted(n)} is not supported`));
  const initial = Array.from({ length: states }, (_, i) => c.optional(5 + i));
  const peepholes = states === 2 ? c.optional(7) : undefined;
  const step = cell(c);
  const pick = (t: Tensor, d: number): Tensor => reshape(narrow(t, 0, d, d + 1), t.shape.slice(1));
  const runs = Array.from({ length: directions }, (_, d) => {
    const bias = b && pick(b, d);
    const each = peepholes && pick(peepholes, d);
    const own: Direction = {
      w: pick(w, d), r: pick(r, d), hidden,
      biases: bias ? [narrow(bias, 0, 0, gates * hidden), narrow(bias, 0, gates * hidden, 2 * gates * hidden)] : null,
      peepholes: each ? [0, 1, 2].map((i) => narrow(each, 0, i * hidden, (i + 1) * hidden)) : null,
      functions: chosen.slice(d * functions.length, (d + 1) * functions.length),
    };
    const projected = gemm(reshape(x, [length * batch, width]), own.w, false, true, own.biases?.[0]);
    const backwards = direction === 'reverse' || d === 1;
    let state: State = initial.map((t) => (t ? pick(turned(t), d) : full([batch, hidden], 0)));
    const seen: Tensor[] = [];
    for (let i = 0; i < length; i++) {
      const at = backwards ? length - 1 - i : i;
      state = step(own)(narrow(projected, 0, at * batch, (at + 1) * batch), state);
      seen[at] = state[0]!;
    }
    return { all: stack(seen, 0), state }; // [L, B, H]
  });
  const last = Array.from({ length: states }, (_, i) => turned(stack(runs.map(({ state }) => state[i]!), 0)));
  const all = stack(runs.map(({ all: y }) => y), 1); // [L, D, B, H]
  return [batchFirst ? transpose(all, [2, 0, 1, 3]) : all, ...last];
};

export const recurrence: Readonly<Record<string, Operator>> = {
  LSTM: recurrent({ gates: 4, functions: ['Sigmoid', 'Tanh', 'Tanh'], states: 2, cell: () => lstm }),
  GRU: recurrent({ gates: 3, functions: ['Sigmoid', 'Tanh'], states: 1, cell: (c) => gru(c.int('linear_before_reset', 0) !== 0) }),
  RNN: recurrent({ gates: 1, functions: ['Tanh'], states: 1, cell: () => simple }),
};
