/**
 * @file Checks gradients against central finite differences, many cases in one session. The derivative of Σ rᵢyᵢ along
 * a random direction is taken in float64 from float32 outputs at four points (fourth order), which leaves errors of
 * about 1e-5; a wrong element of a gradient shows at 1e-3 of the gradient's length.
 */
import { host, isFloat, sizeOf } from '../../src/graph/dtype.js';
import type { HostTensor, Shape } from '../../src/graph/dtype.js';
import { vjp } from '../../src/graph/grad.js';
import { input } from '../../src/graph/tensor.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { normal, permutation, uniform } from '../../src/random/random.js';
import { compile } from '../../src/runtime/compile.js';

export interface Case {
  name: string;
  /** A shape stands for normal numbers; integers are not differentiated by. */
  inputs: readonly (Shape | HostTensor)[];
  f: (...xs: Tensor[]) => Tensor | readonly Tensor[];
}

const key = (stream: string) => ({ seed: 1, stream, step: 0 });

/** Numbers in [low, high]. */
export function between(low: number, high: number, shape: Shape): HostTensor {
  const draws = uniform(key(`between ${low} ${high}`), 0, sizeOf(shape));
  return host(Float32Array.from(draws, (u) => low + (high - low) * u), shape);
}

/** Numbers at least 0.15 from each other and 0.07 from zero, for functions with kinks. */
export function apart(shape: Shape): HostTensor {
  const n = sizeOf(shape);
  return host(Float32Array.from(permutation(key('apart'), 0, n), (k) => (k - Math.floor(n / 2) + 0.5) * 0.15), shape);
}

export const integers = (values: readonly number[], shape: Shape): HostTensor =>
  host(BigInt64Array.from(values, BigInt), shape, 'int64');

const list = (t: Tensor | readonly Tensor[]): readonly Tensor[] => (Array.isArray(t) ? t : [t as Tensor]);
const isHost = (v: Shape | HostTensor): v is HostTensor => 'data' in v;
const normalTensor = (name: string, shape: Shape): HostTensor => host(normal(key(name), 0, sizeOf(shape)), shape);

/** The case whose function is the gradient of this one's, by its inputs and the output's gradient: for second order. */
export function gradientOf({ name, inputs, f }: Case): Case {
  const values = inputs.map((v, i) => (isHost(v) ? v : normalTensor(`${name}.${i}`, v)));
  const shapes = list(f(...values.map((v) => input('', v.shape, v.dtype)))).map((y) => y.shape);
  const n = inputs.length;
  return {
    name: `${name} (second order)`,
    inputs: [...values, ...shapes],
    f: (...all) => {
      const xs = all.slice(0, n);
      return vjp(list(f(...xs)), xs.filter((x) => isFloat(x.dtype)), all.slice(n));
    },
  };
}

const STEP = 0.02;
const STENCIL = [[1, 8], [-1, -8], [2, -1], [-2, 1]] as const; // f′ ≈ Σ weight·f(x + k·h) / 12h
const TOLERANCE = 1e-3;
const DIRECTIONS = 2;

const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
};
const numbers = (t: HostTensor): Float32Array => t.data as Float32Array;

/** What is wrong with the cases' gradients; empty if nothing is. */
export async function gradientErrors(cases: readonly Case[]): Promise<string[]> {
  const ys: Record<string, Tensor> = {};
  const gs: Record<string, Tensor> = {};
  const feeds: Record<string, HostTensor> = {};
  const traced = cases.map((c, n) => {
    const values = c.inputs.map((v, i) => (isHost(v) ? v : normalTensor(`${c.name}.${i}`, v)));
    const xs = values.map((v, i) => input(`x${n}.${i}`, v.shape, v.dtype));
    const outs = list(c.f(...xs));
    const by = xs.map((_, i) => i).filter((i) => isFloat(values[i]!.dtype));
    const rs = outs.map((y, i) => input(`r${n}.${i}`, y.shape));
    outs.forEach((y, i) => (ys[`y${n}.${i}`] = y));
    vjp(outs, by.map((i) => xs[i]!), rs).forEach((g, i) => (gs[`g${n}.${by[i]!}`] = g));
    values.forEach((v, i) => (feeds[`x${n}.${i}`] = v));
    rs.forEach((r, i) => (feeds[`r${n}.${i}`] = normalTensor(`${c.name}.r${i}`, r.shape)));
    return { name: c.name, n, by, values, count: outs.length };
  });
  // One thread: there is nothing to share out in tensors this small.
  const gradients = await compile({ outputs: gs }, { threads: 1 });
  const analytic = await gradients.run(feeds);
  await gradients.release();
  const forward = await compile({ outputs: ys }, { threads: 1 });
  const errors: string[] = [];
  const slots = Math.max(...traced.map((t) => t.by.length));
  for (let slot = 0; slot < slots; slot++) {
    for (let d = 0; d < DIRECTIONS; d++) {
      const moved = traced.filter((t) => t.by.length > slot).map((t) => {
        const name = `x${t.n}.${t.by[slot]!}`;
        // Of either sign and bounded, so that kinks at a known distance are not crossed.
        const draws = uniform(key(`direction ${d}`), t.n, sizeOf(feeds[name]!.shape));
        return { ...t, name, title: t.name, direction: Float32Array.from(draws, (u) => (u < 0.5 ? u - 1 : u)), sum: 0 };
      });
      for (const [k, weight] of STENCIL) {
        const shifted = moved.map(({ name, direction }) => {
          const { data, shape } = feeds[name] as HostTensor & { data: Float32Array };
          return [name, host(data.map((v, i) => v + k * STEP * direction[i]!), shape)];
        });
        const result = await forward.run({ ...feeds, ...Object.fromEntries(shifted) });
        for (const m of moved) {
          for (let i = 0; i < m.count; i++) {
            m.sum += weight * dot(numbers(feeds[`r${m.n}.${i}`]!), numbers(result[`y${m.n}.${i}`]!));
          }
        }
      }
      for (const m of moved) {
        const g = numbers(analytic[`g${m.n}.${m.by[slot]!}`]!);
        const [expected, found] = [m.sum / (12 * STEP), dot(g, m.direction)];
        const scale = Math.max(Math.sqrt(dot(g, g)), 1e-2);
        const error = Math.abs(found - expected) / scale;
        if (!(error < TOLERANCE)) {
          const of = `${m.title}, input ${m.by[slot]}`;
          errors.push(`${of}: ${found} where differences give ${expected} (error ${error.toExponential(1)})`);
        }
      }
    }
  }
  await forward.release();
  return errors;
}
