/** @file Finds the operator that produced the first NaN or infinity of a run. */
import type { HostTensor } from '../graph/dtype.js';
import { schedule } from '../graph/onnx/export.js';
import { cast } from '../graph/ops/arithmetic.js';
import { stack } from '../graph/ops/layout.js';
import { max } from '../graph/ops/reduce.js';
import { apply, resolve } from '../graph/tensor.js';
import type { Node, Tensor } from '../graph/tensor.js';
import { deferred } from '../host/resources.js';
import type { compile as Compile, Executable, Feeds } from './compile.js';
import { lookup } from './frozen.js';
import { labelOf } from './label.js';

/** A run produced NaN or infinity; the message names the operator, the inputs it reads and its shapes. */
export class NonFiniteError extends Error {
  override readonly name = 'NonFiniteError';
}

/** Operators looked at in one run: with more, more of their values are alive at once. */
const CHUNK = 200;

interface Contents {
  nan: boolean;
  inf: boolean;
}

const FINITE: Contents = { nan: false, inf: false };

/** What a host tensor contains; only float32 and float64 are looked at. */
function contents({ data }: HostTensor): Contents {
  if (!(data instanceof Float32Array || data instanceof Float64Array)) return FINITE;
  // A sum in double precision is finite if and only if all float32 terms are: one addition an element for the usual case.
  let sum = 0;
  for (let i = 0; i < data.length; i++) sum += data[i]!;
  if (Number.isFinite(sum)) return FINITE;
  return { nan: data.some((v) => Number.isNaN(v)), inf: data.some((v) => v === Infinity || v === -Infinity) };
}

export const isFinite = (value: HostTensor): boolean => {
  const { nan, inf } = contents(value);
  return !nan && !inf;
};

const anyOf = (op: 'IsNaN' | 'IsInf', t: Tensor): Tensor => max(cast(apply({ op, inputs: [t] }, t.shape, 'bool'), 'float32'));

/** What each tensor contains when the computation runs on `feeds`. */
async function inspect(compile: typeof Compile, executable: Executable, feeds: Feeds, tensors: readonly Tensor[]): Promise<Contents[]> {
  const flags = stack(tensors.flatMap((t) => [anyOf('IsNaN', t), anyOf('IsInf', t)]));
  // As traced: no fusion may swallow an operator.
  const options = { ...executable.options, hoist: false, checkFinite: false };
  const probe = await compile({ outputs: { flags } }, { ...options, session: { ...options.session, graphOptimizationLevel: 'disabled' } });
  await using _ = deferred(() => probe.release());
  const { data } = (await probe.run(feeds)).flags;
  return tensors.map((_, i) => ({ nan: data[2 * i] === 1, inf: data[2 * i + 1] === 1 }));
}

/**
 * Runs the computation again, operator by operator in order, and describes the first that made NaN out of numbers or
 * infinity out of finite ones. (An infinity that came in with a constant, a mask for instance, is not its user's fault.)
 *
 * @param compile what made the executable, to make the parts of it
 */
export async function nonFiniteError(compile: typeof Compile, executable: Executable, feeds: Feeds): Promise<NonFiniteError> {
  const known = new Map<Tensor, Contents>();
  const computed: Node[] = [];
  for (const node of schedule(Object.values(executable.graph.outputs))) {
    const value = node.value ?? (node.name === undefined ? undefined : (feeds[node.name] ?? lookup(executable.options.weights ?? {}, node.name)));
    if (!value) computed.push(node);
    else {
      const found = contents(value);
      if (found.nan) return new NonFiniteError(`input ${node.name ?? 'constant'} ${node.outputs[0]!} contains NaN`);
      known.set(node.outputs[0]!, found);
    }
  }
  for (let i = 0; i < computed.length; i += CHUNK) {
    const chunk = computed.slice(i, i + CHUNK);
    const tensors = chunk.flatMap((n) => n.outputs.filter((t) => t.dtype === 'float32' && t.size > 0));
    const found = tensors.length > 0 ? await inspect(compile, executable, feeds, tensors) : [];
    tensors.forEach((t, j) => known.set(t, found[j]!));
    const culprit = chunk.find((node) => {
      const read = node.inputs.map((t) => (t && known.get(resolve(t))) || FINITE);
      const made = node.outputs.map((t) => known.get(t) ?? FINITE);
      const nan = made.some((c) => c.nan) && !read.some((c) => c.nan);
      return nan || (made.some((c) => c.inf) && !read.some((c) => c.nan || c.inf));
    });
    if (culprit) {
      const what = culprit.outputs.some((t) => known.get(t)?.nan) ? 'NaN' : 'infinity';
      const shapes = culprit.inputs.flatMap((t) => (t ? [String(t)] : [])).join(', ');
      return new NonFiniteError(`${labelOf(culprit)} produced ${what}: ${culprit.op} of ${shapes} into ${culprit.outputs[0]!}`);
    }
  }
  return new NonFiniteError('the outputs contain NaN or infinity, but computed operator by operator they do not');
}
