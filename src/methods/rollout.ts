/** @file Sampling without gradients, keeping every latent: memory does not grow with what happens inside the network. */
import type { HostTensor } from '../graph/dtype.js';
import { normal } from '../random/random.js';
import type { Plan, Step } from '../schedulers/plan.js';
import { combine } from '../schedulers/linear.js';
import { drawNoise, sampleSteps } from '../schedulers/sample.js';
import type { Denoise, NoiseSource } from '../schedulers/sample.js';
import { isMultistep, predictX0, stepFeed } from '../schedulers/step.js';
import { sampleInput, samplesOf, sampleSize, stepsInput } from './task.js';
import type { Values } from './policy.js';
import type { Model, Sampling, PolicyRole } from './task.js';

/** x_0 is the noise that sampling starts from, x_S the finished sample (S = number of steps taken). */
export interface Trajectory {
  readonly prompts: readonly string[];
  readonly x: readonly HostTensor[]; // S + 1 of [B, C, h, w]
  /** The network's output at x_i, guidance included. */
  readonly outputs: readonly HostTensor[]; // S
  readonly steps: readonly Step[]; // S
}

export interface RolloutOptions {
  /** Steps to take instead of the plan's. */
  readonly steps?: readonly Step[];
  /** Take only the first `stop` of them (all by default). */
  readonly stop?: number;
  /** Start from these [B, C, h, w] instead of fresh noise. */
  readonly start?: HostTensor;
  /** Numbers of the items, for their noise; by default those of the round, counted through the whole training. */
  readonly items?: readonly number[];
  /** Rollouts of one round with different copies share no noise, where it comes from a stream; 0 by default. */
  readonly copy?: number;
}

export interface RolloutsOptions {
  /** Default: the task's. */
  readonly plan?: Plan;
  /** Whether the network's output is guided; as in sampling by default. */
  readonly guided?: boolean;
  /** Of the tuned network, in place of the trained values: a copy of them (`Policy.copy`). */
  readonly values?: Values;
}

export interface Rollouts {
  /** The network's output. x [B, C, h, w], one step of the plan for all items or one each. */
  predict(x: HostTensor, steps: Step | readonly Step[], prompts: readonly string[]): Promise<HostTensor>;
  /** Samples, by default from fresh noise and to the end of the plan. */
  rollout(prompts: readonly string[], round: number, options?: RolloutOptions): Promise<Trajectory>;
  /** The z that a rollout of this round adds in step i, if that has noise [B, C, h, w]. */
  noise(prompts: readonly string[], round: number, i: number): HostTensor;
  release(): Promise<void>;
}

/** The same step for every one of `count` items. */
export function forItems(count: number, steps: Step | readonly Step[]): readonly Step[] {
  return Array.isArray(steps) ? (steps as readonly Step[]) : new Array<Step>(count).fill(steps as Step);
}

/**
 * Compiles sampling on a task.
 *
 * @param noise a stream of the task's seed, which shares no noise with others; or the noise of each item itself
 */
export async function openRollouts(
  task: Sampling, which: PolicyRole = 'tuned', noise: string | NoiseSource = 'rollout', options: RolloutsOptions = {},
): Promise<Rollouts> {
  const { plan = task.plan, guided = true, values = new Map() } = options;
  if (isMultistep(plan)) throw new Error('reward fine-tuning needs a one-step sampler; use --sampler ddim or ddpm');
  const output = task.network(sampleInput(task, 'x'), stepsInput(task, 'step'), which, { guided });
  const executable = await task.compile({ output }, { calls: guided ? task.callsPerSample : 1 });
  const size = sampleSize(task);

  const noiseOf = (copy: number): NoiseSource => {
    if (typeof noise !== 'string') return noise;
    const stream = copy === 0 ? noise : `${noise} ${copy}`;
    return (draw, item, count) => normal({ seed: task.seed, stream, step: draw }, item, count);
  };
  // Items are numbered through the whole training, so that no two start from the same noise.
  const itemsOf = (prompts: readonly string[], round: number): number[] => prompts.map((_, i) => round * prompts.length + i);
  const drawn = (draw: number, items: readonly number[], copy: number): Float32Array =>
    drawNoise(noiseOf(copy), draw, items, size);

  async function predict(samples: HostTensor, steps: Step | readonly Step[], prompts: readonly string[]): Promise<HostTensor> {
    return (await executable.run({ ...Object.fromEntries(values), x: samples, step: stepFeed(forItems(prompts.length, steps)) }, prompts)).output;
  }

  return {
    predict,
    async rollout(prompts, round, { steps: all = plan.steps, stop = all.length, start, copy = 0, items = itemsOf(prompts, round) } = {}) {
      const steps = all.slice(0, stop);
      const xs = [start ?? samplesOf(task, combine([plan.initialStd, drawn(0, items, copy)]))];
      const outputs: HostTensor[] = [];
      const denoise: Denoise = async (x, step) => (await predict(samplesOf(task, x), step, prompts)).data as Float32Array;
      const z = (i: number): Float32Array => drawn(i + 1, items, copy);
      for await (const { output, next } of sampleSteps(denoise, { ...plan, steps }, xs[0]!.data as Float32Array, z)) {
        outputs.push(samplesOf(task, output));
        xs.push(samplesOf(task, next));
      }
      return { prompts, x: xs, outputs, steps };
    },
    noise: (prompts, round, i) => samplesOf(task, drawn(i + 1, itemsOf(prompts, round), 0)),
    release: () => executable.release(),
  };
}

/** x̂0 of a network output, on the host. */
export function x0Sample(task: Pick<Model, 'sampleShape'>, step: Step, x: HostTensor, output: HostTensor): HostTensor {
  return samplesOf(task, predictX0(step, x.data as Float32Array, output.data as Float32Array));
}
