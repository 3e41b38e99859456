/**
 * @file What a method sees of the world: a network that denoises, a sampler's plan, a reward on samples, and the numbers
 * that may change. It does not know whether this is Stable Diffusion, the bundled model or a Gaussian in closed form.
 */
import type { HostTensor, Shape } from '../graph/dtype.js';
import { host } from '../graph/dtype.js';
import { input } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import type { Feeds } from '../runtime/compile.js';
import type { Plan, Step } from '../schedulers/plan.js';
import type { Process } from '../schedulers/process.js';
import { stepInput } from '../schedulers/step.js';
import type { GraphFacts } from './cuts.js';
import type { Policy } from './policy.js';
import type { Work } from './work.js';

/** The network as it is being trained, or as it was before. */
export type PolicyRole = 'tuned' | 'reference';

export interface ScoredGradient {
  /** [B] */
  readonly score: Float32Array;
  /** ∂ Σ score / ∂ sample [B, C, h, w] */
  readonly gradient: HostTensor;
}

/** The reward of finished samples (latents), decoding included. What needs a gradient throws if it is not differentiable. */
export interface SampleReward {
  readonly differentiable: boolean;
  /** samples [B, C, h, w] with one prompt each → B scores */
  score(samples: HostTensor, prompts: readonly string[]): Promise<Float32Array>;
  gradient(samples: HostTensor, prompts: readonly string[]): Promise<ScoredGradient>;
  /** The same reward in a graph of one's own, which `Task.compile`s: samples [B, C, h, w] → scores [B]. */
  trace(samples: Tensor): Tensor;
  /** What such a graph must be fed for the reward's part. */
  feeds(prompts: readonly string[]): Promise<Feeds>;
  /**
   * Takes note of the scores that such a graph gave, and returns them.
   *
   * @throws Error if they are not one finite number for each prompt
   */
  record(scores: HostTensor['data'], prompts: readonly string[]): Float32Array;
}

/** A compiled graph that gets weights, trained parameters and conditions by itself. */
export interface TaskExecutable<O extends string> {
  /**
   * Runs it over any number of items, however many the graph holds at once (cuts.ts).
   *
   * @param prompts one for each item
   */
  run(feeds: Feeds, prompts: readonly string[]): Promise<Record<O, HostTensor>>;
  release(): Promise<void>;
}

/** A network of the denoiser's kind, but small, and zero at first: a second field for methods that learn one. */
export interface Auxiliary {
  /** Its numbers by input name; a method feeds them to the graphs that call it. */
  readonly parameters: ReadonlyMap<string, HostTensor>;
  readonly symbols: ReadonlyMap<string, Tensor>;
  /** x [B, C, h, w] → the same shape. Conditions come in as for `Task.network`. */
  output(x: Tensor, step: Step<Tensor>): Tensor;
}

/** Finished samples that were not drawn from the model: pictures with captions, encoded. */
export interface GivenSamples {
  readonly prompts: readonly string[];
  /** Samples `indices` [indices.length, C, h, w]. */
  samples(indices: readonly number[]): Promise<HostTensor>;
}

/** Two pictures of one prompt, of which the first is the better one. */
export interface GivenPairs {
  readonly prompts: readonly string[];
  samples(indices: readonly number[]): Promise<{ winners: HostTensor; losers: HostTensor }>;
}

/** What a method can be given to learn from, by path. */
export interface TaskData {
  /** A folder of captioned images. */
  pictures(path: string): Promise<GivenSamples>;
  /** A table or JSON file of image pairs. */
  pairs(path: string): Promise<GivenPairs>;
}

export interface NetworkOptions {
  /** Whether classifier-free guidance is applied as in sampling (default), or the prompt's own output is wanted. */
  readonly guided?: boolean;
}

/** The networks, and what they were trained for. */
export interface Model {
  /** [C, h, w] */
  readonly sampleShape: Shape;
  readonly process: Process;
  /** Network calls (NFE) of one sample each time it goes through the network: 2 with guidance. */
  readonly callsPerSample: number;
  /**
   * The network's output for noisy samples, guidance included, in a graph. Conditions come in through inputs that
   * `compile`d graphs fill from the prompts.
   *
   * @param x [B, C, h, w]
   */
  network(x: Tensor, step: Step<Tensor>, which: PolicyRole, options?: NetworkOptions): Tensor;
}

/** Makes graphs run. */
export interface Compiler {
  /** Items that a graph holds at once: what `sampleInput` and its like trace with. Rounds are of any multiple of it. */
  readonly microbatch: number;
  /** Who computes, and for which update. */
  readonly work: Work;
  /** Knows the values of everything that the networks and the reward are frozen with, and compiles equal graphs once. */
  compile<O extends string>(outputs: Readonly<Record<O, Tensor>>, facts?: GraphFacts<O>): Promise<TaskExecutable<O>>;
}

/** A model that samples: all that search and evaluation need. Nothing of it is trained. */
export interface Sampling extends Model, Compiler {
  readonly seed: number;
  readonly plan: Plan;
  readonly reward: SampleReward;
}

/** What methods train on. */
export interface Task extends Sampling, Policy {
  readonly data: TaskData;
  /** Makes a small network beside the denoiser; its inputs begin with `name`. */
  auxiliary(name: string): Auxiliary;
}

/** [B, C, h, w] from numbers. */
export function samplesOf(task: Pick<Model, 'sampleShape'>, data: Float32Array): HostTensor {
  return host(data, [data.length / sampleSize(task), ...task.sampleShape]);
}

/** A graph input of samples, [B, C, h, w]. */
export const sampleInput = (task: Sampling, name: string): Tensor => input(name, [task.microbatch, ...task.sampleShape]);

/** A graph input with a value, or values of the shape `rest`, for each item, [B, …]. */
export const itemInput = (task: Compiler, name: string, rest: Shape = []): Tensor => input(name, [task.microbatch, ...rest]);

/** A graph input of steps, one for each item. */
export const stepsInput = (task: Compiler, name: string): Step<Tensor> => stepInput(name, task.microbatch);

/** Numbers in one sample, C·h·w. */
export function sampleSize(task: Pick<Model, 'sampleShape'>): number {
  return task.sampleShape.reduce((a, b) => a * b, 1);
}
