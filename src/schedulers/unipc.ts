/** @file UniPC (Zhao et al. 2023, arXiv 2302.04867, Algorithms 5–8): multistep predictor and corrector in x̂0, order 1 to 3. */
import { makeStep } from './plan.js';
import type { Plan, SamplerOptions } from './plan.js';
import { alphaBarOf, vpLevel, x0Prediction } from './process.js';
import type { VariancePreserving } from './process.js';
import { solverLevels } from './sigmas.js';

/** Solves Σ_j rows[i][j]·y_j = right[i] by elimination; the rows of distinct nodes are never singular. */
function solve(rows: readonly (readonly number[])[], right: readonly number[]): number[] {
  const m = rows.map((row, i) => [...row, right[i]!]);
  m.forEach((pivot, i) => m.forEach((row, k) => {
    const factor = row[i]! / pivot[i]!;
    if (k !== i) row.forEach((_, j) => { row[j]! -= factor * pivot[j]!; });
  }));
  return m.map((row, i) => row.at(-1)! / row[i]!);
}

/** Σ ρ_k·D_k with D_k = (x̂0 k calls back − x̂0)/r_k, as factors of x̂0 now and before. */
const differences = (rho: readonly number[], r: readonly number[]): number[] => {
  const factors = rho.map((value, k) => value / r[k]!);
  return [-factors.reduce((sum, f) => sum + f, 0), ...factors];
};

/** What leads from one level to the next, as factors over √ā' of this call's x̂0 and those before it. */
interface Move {
  readonly predict: readonly number[];
  /** What the next call's x̂0 (first) and these (from the second on) correct in the sample that was predicted. */
  readonly correct: readonly number[];
}

/**
 * @param h step of −log σ
 * @param r (−log σ of earlier levels, the latest first, over this one's)/h
 */
function move(h: number, r: readonly number[], type: 'bh1' | 'bh2'): Move {
  const order = r.length + 1;
  const growth = Math.expm1(-h); // e^{−h} − 1
  if (h === Infinity) return { predict: [1], correct: [] };
  const scale = type === 'bh1' ? -h : growth; // B(h)
  const nodes = [...r, 1];
  const rows = nodes.map((_, j) => nodes.map((node) => node ** j));
  let [phi, factorial] = [growth / -h - 1, 1];
  const b = nodes.map((_, j) => {
    const value = (phi * factorial) / scale;
    factorial *= j + 2;
    phi = phi / -h - 1 / factorial;
    return value;
  });
  // The published code takes ½ where the conditions of second order leave one free.
  const rhoP = order === 2 ? [0.5] : solve(rows.slice(0, -1).map((row) => row.slice(0, -1)), b.slice(0, -1));
  const rhoC = order === 1 ? [0.5] : solve(rows, b);
  const predicted = differences(rhoP, r);
  const [next, ...rest] = [rhoC.at(-1)!, ...differences(rhoC.slice(0, -1), r)];
  return {
    predict: predicted.map((value, k) => -scale * value - (k === 0 ? growth : 0)),
    correct: [-scale * next!, ...rest.map((value, k) => scale * (predicted[k]! - value + (k === 0 ? next! : 0)))],
  };
}

/**
 * Each call's x̂0 first corrects the sample that it was made of, and then predicts the next one from that. Both are
 * linear in the x̂0 of this call and the order − 1 before it, and so one step of the plan. The sample that is corrected was
 * predicted from the same level with the same factors of x, so only the difference of the two sums of x̂0 remains.
 */
export function uniPc(schedule: VariancePreserving, steps: number, options: SamplerOptions = {}): Plan {
  const { order = 2, solverType, lowerOrderFinal = true } = options;
  const { timesteps, sigmas } = solverLevels(schedule, steps, options);
  const minusLog = sigmas.map((sigma) => -Math.log(sigma));
  const moves = timesteps.map((_, i): Move => {
    const own = Math.min(order, 3, i + 1, lowerOrderFinal ? steps - i : order);
    const h = minusLog[i + 1]! - minusLog[i]!;
    const r = Array.from({ length: own - 1 }, (_unused, k) => (minusLog[i - 1 - k]! - minusLog[i]!) / h);
    return move(h, r, solverType === 'bh1' ? 'bh1' : 'bh2');
  });
  const plan = timesteps.map((timestep, i) => {
    const [from, to] = [sigmas[i]!, sigmas[i + 1]!];
    const [alphaBar, nextAlphaBar] = [alphaBarOf(from), alphaBarOf(to)];
    const keep = Math.sqrt((1 - nextAlphaBar) / (1 - alphaBar));
    const [signal, nextSignal] = [Math.sqrt(alphaBar), Math.sqrt(nextAlphaBar)];
    const { correct } = moves[i - 1] ?? { correct: [] };
    const { predict } = moves[i]!;
    const [clean, ...past] = Array.from({ length: Math.max(correct.length, predict.length) }, (_, k) =>
      keep * signal * (correct[k] ?? 0) + nextSignal * (predict[k] ?? 0));
    const times = { timestep, nextTimestep: timesteps[i + 1] ?? 0, from: vpLevel(alphaBar), to: vpLevel(nextAlphaBar) };
    const rule = { keep, clean: clean!, past: past.map((c) => ({ x: 0, clean: c })) };
    return makeStep(times, x0Prediction(schedule.predictionType, times.from), rule);
  });
  return { initialStd: 1, steps: plan };
}
