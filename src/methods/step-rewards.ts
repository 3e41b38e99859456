/**
 * @file What Diffusion-Sharpening looks at: a noised sample followed for a few denoising steps, with the reward of the
 * clean prediction and the denoising error at each, and the gradient of that error.
 */
import type { HostTensor } from '../graph/dtype.js';
import { ddimStep } from '../schedulers/ddim.js';
import { predictionTarget } from '../schedulers/forward-process.js';
import type { Step } from '../schedulers/plan.js';
import { levelAt, trainingTimes } from '../schedulers/process.js';
import { accumulate, openBackprop } from './backprop.js';
import { openRollouts } from './rollout.js';
import { sampleSize, samplesOf } from './task.js';
import type { Task } from './task.js';
import { pick } from './transitions.js';

/** One network call on the way, for all items. */
interface Stop {
  readonly x: HostTensor; // [B, C, h, w]
  readonly output: HostTensor;
  readonly target: HostTensor;
  /** The step of each item; null for those that arrived before. */
  readonly steps: readonly (Step | null)[];
}

export interface Walk {
  readonly stops: readonly Stop[];
  /** Path integral: mean over the steps of r(x̂0) [B]. */
  readonly reward: Float32Array;
  /** Mean over the steps of mean_{CHW} ‖target − output‖² [B]. */
  readonly loss: Float32Array;
  /** The same errors of the reference network at the same x, or of the first step alone. */
  readonly referenceLoss: Float32Array;
}

export interface StepRewards {
  /**
   * Noises `clean` [B, C, h, w] to time t of each item, and takes deterministic steps t → t − Δ → … from there.
   *
   * @param conditions prompts that the network gets; the reward always gets the real `prompts`
   */
  walk(
    clean: HostTensor, noise: HostTensor, times: readonly number[], prompts: readonly string[], conditions: readonly string[],
  ): Promise<Walk>;
  /** ∂ Σ weightᵢ·lossᵢ / ∂ θ. */
  gradient(walk: Walk, weights: Float32Array, conditions: readonly string[]): Promise<Map<string, HostTensor>>;
  release(): Promise<void>;
}

export interface WalkOptions {
  /** Most steps of a walk. */
  readonly m: number;
  /** The grid has this many steps over all of time: Δ = ⌊T/gridSteps⌋. */
  readonly gridSteps: number;
  /** Hold each step's input fixed in the gradient. */
  readonly detach: boolean;
  /** Where the reference's error is wanted. */
  readonly reference: 'none' | 'first' | 'every';
}

export async function openStepRewards(task: Task, { m, gridSteps, detach, reference }: WalkOptions): Promise<StepRewards> {
  const tuned = await openRollouts(task, 'tuned', 'sharpen', { guided: false });
  const base = reference === 'none' ? null : await openRollouts(task, 'reference', 'sharpen', { guided: false });
  const backprop = await openBackprop(task, { jacobian: !detach && m > 1, guided: false });
  const delta = Math.floor(trainingTimes(task.process) / gridSteps);
  const stopsOf = (time: number): number => Math.min(m, 1 + Math.floor(time / delta));

  /** Linear combination with factors of its own for each item. */
  function mix(...terms: readonly (readonly [(item: number) => number, HostTensor])[]): HostTensor {
    const size = sampleSize(task);
    const out = new Float32Array(terms[0]![1].data.length);
    for (let i = 0; i * size < out.length; i++) {
      const factors = terms.map(([factor]) => factor(i));
      for (let k = i * size; k < (i + 1) * size; k++) {
        out[k] = terms.reduce((sum, [, t], j) => sum + factors[j]! * (t.data as Float32Array)[k]!, 0);
      }
    }
    return samplesOf(task, out);
  }

  /** mean_{CHW} ‖target − output‖² [B] */
  function errors(target: HostTensor, output: HostTensor): number[] {
    const size = sampleSize(task);
    const [a, b] = [target.data as Float32Array, output.data as Float32Array];
    return Array.from({ length: a.length / size }, (_, i) => {
      let total = 0;
      for (let k = i * size; k < (i + 1) * size; k++) total += (a[k]! - b[k]!) ** 2;
      return total / size;
    });
  }

  /** The target of each item in its own noise level, from the sample and noise that the walk began with. */
  function targets(clean: HostTensor, noise: HostTensor, steps: readonly Step[]): HostTensor {
    const size = sampleSize(task);
    const out = new Float32Array(clean.data.length);
    steps.forEach((step, i) => {
      const of = (t: HostTensor): Float32Array => (t.data as Float32Array).subarray(i * size, (i + 1) * size);
      out.set(predictionTarget(task.process.predictionType, step.from, of(clean), of(noise)), i * size);
    });
    return samplesOf(task, out);
  }

  return {
    async walk(clean, noise, times, prompts, conditions) {
      const level = times.map((t) => levelAt(task.process, t));
      const lengths = times.map(stopsOf);
      const [reward, loss, referenceLoss] = [0, 0, 0].map(() => new Float32Array(times.length)) as [Float32Array, Float32Array, Float32Array];
      const stops: Stop[] = [];
      let x = mix([(i) => level[i]!.signal, clean], [(i) => level[i]!.noise, noise]);
      for (let k = 0; k < Math.max(...lengths); k++) {
        const steps = times.map((t, i) => (k < lengths[i]! ? ddimStep(task.process, t - k * delta, t - (k + 1) * delta) : null));
        // Items that have arrived take part with any step, and count for nothing.
        const all = steps.map((step) => step ?? steps.find((s) => s !== null)!);
        const output = await tuned.predict(x, all, conditions);
        const target = targets(clean, noise, all);
        const score = await task.reward.score(mix([(i) => all[i]!.x0FromX, x], [(i) => all[i]!.x0FromOutput, output]), prompts);
        const known = base && (k === 0 || reference === 'every');
        const baseError = known ? errors(target, await base.predict(x, all, conditions)) : null;
        errors(target, output).forEach((error, i) => {
          if (!steps[i]) return;
          loss[i]! += error / lengths[i]!;
          reward[i]! += score[i]! / lengths[i]!;
          if (baseError) referenceLoss[i]! += baseError[i]! / (reference === 'every' ? lengths[i]! : 1);
        });
        stops.push({ x, output, target, steps });
        x = mix([(i) => all[i]!.meanFromX, x], [(i) => all[i]!.meanFromOutput, output]);
      }
      return { stops, reward, loss, referenceLoss };
    },

    async gradient({ stops }, weights, conditions) {
      const total = new Map<string, HostTensor>();
      const lengths = Array.from(weights, (_, i) => stops.filter((stop) => stop.steps[i]).length);
      let g = samplesOf(task, new Float32Array(weights.length * sampleSize(task))); // ∂ / ∂ x of the stop after
      for (let k = stops.length - 1; k >= 0; k--) {
        const { x, output, target, steps } = stops[k]!;
        const slope = (i: number): number => (steps[i] ? (2 * weights[i]!) / (sampleSize(task) * lengths[i]!) : 0);
        const onward = (i: number): number => (detach ? 0 : (steps[i]?.meanFromOutput ?? 0));
        const cotangent = mix([slope, output], [(i) => -slope(i), target], [onward, g]);
        const all = steps.map((step) => step ?? steps.find((s) => s !== null)!);
        const pulled = await backprop.network(x, all, cotangent, conditions);
        accumulate(total, pulled.parameters);
        if (!detach) g = mix([(i) => steps[i]?.meanFromX ?? 0, g], [() => 1, pulled.x]);
      }
      return total;
    },

    async release() {
      await tuned.release();
      await base?.release();
      await backprop.release();
    },
  };
}

/** The walk that item b of `choice` numbers for each prompt b; all walks began at the same times. */
export function pickWalk(task: Task, walks: readonly Walk[], choice: readonly number[]): Walk {
  const chosen = (of: (walk: Walk) => Float32Array): Float32Array =>
    Float32Array.from(choice, (w, b) => of(walks[w]!)[b]!);
  return {
    stops: walks[0]!.stops.map(({ steps }, k) => {
      const at = (of: (stop: Stop) => HostTensor): HostTensor => pick(task, walks.map((w) => of(w.stops[k]!)), choice);
      return { steps, x: at((s) => s.x), output: at((s) => s.output), target: at((s) => s.target) };
    }),
    reward: chosen((w) => w.reward),
    loss: chosen((w) => w.loss),
    referenceLoss: chosen((w) => w.referenceLoss),
  };
}
