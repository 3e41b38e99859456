/** @file What a method is: a pure description of how a batch of prompts becomes gradients. */
import type { z } from 'zod';
import type { HostTensor } from '../graph/dtype.js';
import type { Task } from './task.js';

/** One optimiser update. */
export interface Update {
  /** ∂ loss / ∂ parameter, by input name, the method's own parameters included: the optimiser descends. */
  readonly gradients: ReadonlyMap<string, HostTensor>;
  readonly loss: number;
  /** Rewards of the samples that the update was made from. */
  readonly rewards: Float32Array;
  /** Further scalars worth logging. */
  readonly metrics?: Readonly<Record<string, number>>;
}

/** Numbers that a method trains beside the task's, clipped and stepped apart from them. */
export interface OwnParameters {
  readonly parameters: ReadonlyMap<string, HostTensor>;
  readonly lr: number;
  readonly weightDecay: number;
}

/** A method at work on a task. */
export interface UpdateRule {
  readonly own?: OwnParameters;
  /**
   * What the next rounds depend on besides (task, round): the method changes the map in place, checkpoints keep it, and
   * a resumed run finds it filled before the first round.
   */
  readonly memory?: Map<string, HostTensor>;
  /**
   * One round: samples for the prompts, and the updates made from them. The caller applies each update before it asks
   * for the next. All randomness comes from (task.seed, round).
   *
   * @param prompts one for each item of the round; however these are cut to be computed, the method sees all of them
   */
  round(prompts: readonly string[], round: number): AsyncGenerator<Update>;
  release(): Promise<void>;
}

export interface Method<O = unknown> {
  /** As on the command line. */
  readonly name: string;
  /** One line for lists. */
  readonly summary: string;
  /** Authors, year, arXiv number. */
  readonly paper: string;
  /** Options with the published defaults, each with its source. */
  readonly options: z.ZodType<O>;
  /** What to write instead of a setting that earlier versions had, if one is given. */
  readonly outdated?: (given: Readonly<Record<string, unknown>>) => string | null;
  readonly needs: {
    readonly differentiableReward: boolean;
    /** Of transitions: only steps that add noise have one, and only these are learnt from. */
    readonly density: boolean;
  };
  /**
   * How the paper samples, as far as the sampler has a say in it: the share of fresh noise in each step, from 0 (an ODE) to
   * 1 (the posterior of the noising process), and whether the last step adds some as well.
   */
  readonly sampling: { readonly noise: number; readonly noisyEnd: boolean };
  create(task: Task, options: O): Promise<UpdateRule>;
}
