/** @file Moves candidates through the sampler and scores them, some at a time, whatever prompts they are of. */
import { forItems } from '../methods/rollout.js';
import { sampleInput, samplesOf, sampleSize, stepsInput } from '../methods/task.js';
import type { Sampling } from '../methods/task.js';
import { sampleSteps } from '../schedulers/sample.js';
import type { Denoise } from '../schedulers/sample.js';
import { stepFeed } from '../schedulers/step.js';
import { bookCalls, bookScore, draw } from './candidate.js';
import type { Candidate } from './candidate.js';

export interface Scored extends Candidate {
  readonly score: number;
}

export interface Explorer {
  readonly task: Sampling;
  /** Candidates at step `start` of the plan → the same ones at step `stop`, in their order. */
  advance(candidates: readonly Candidate[], start: number, stop: number): Promise<Candidate[]>;
  /**
   * Scores candidates that have `steps` steps behind them, and enters calls and scores into their prompts' accounts.
   * Before the end of the plan it is the clean prediction x̂0 of the last step that is scored.
   */
  score(candidates: readonly Candidate[], round: number, steps: number): Promise<Scored[]>;
  release(): Promise<void>;
}

export interface ExplorerOptions {
  /** Called after each step with the denoiser calls it took; an error thrown here ends the search. */
  readonly onCalls?: (calls: number) => void;
}

/** Compiles a task's network for searching. The accounts of the prompts hold what their candidates cost. */
export async function openExplorer(task: Sampling, options: ExplorerOptions = {}): Promise<Explorer> {
  const { onCalls } = options;
  const { microbatch, plan, callsPerSample } = task;
  const size = sampleSize(task);
  const output = task.network(sampleInput(task, 'x'), stepsInput(task, 'step'), 'tuned');
  const network = await task.compile({ output }, { calls: callsPerSample });

  const stack = (rows: readonly Float32Array[]): Float32Array => {
    const data = new Float32Array(rows.length * size);
    rows.forEach((row, i) => data.set(row, i * size));
    return data;
  };

  /** Calls `work` on as many candidates as are computed at once, so that there is progress to tell, and joins what it returns. */
  async function inBatches<T>(candidates: readonly Candidate[], work: (some: readonly Candidate[]) => Promise<T[]>): Promise<T[]> {
    const all: T[] = [];
    const together = microbatch * task.work.together;
    for (let first = 0; first < candidates.length; first += together) {
      all.push(...await work(candidates.slice(first, first + together)));
    }
    return all;
  }

  const promptsOf = (candidates: readonly Candidate[]): string[] => candidates.map(({ ledger }) => ledger.prompt);

  return {
    task,
    advance: (candidates, start, stop) => inBatches(candidates, async (own) => {
      let at = stack(own.map((c) => c.x));
      let clean: Float32Array | null = null;
      const denoise: Denoise = async (x, step) => {
        const feeds = { x: samplesOf(task, x), step: stepFeed(forItems(own.length, step)) };
        return (await network.run(feeds, promptsOf(own))).output.data as Float32Array;
      };
      const z = (i: number): Float32Array => stack(own.map(({ path }) => draw(path, i + 1, size)));
      for await (const taken of sampleSteps(denoise, plan, at, z, { start, stop })) {
        at = taken.next;
        clean = taken.clean;
        onCalls?.(own.length * callsPerSample);
      }
      const row = (data: Float32Array, i: number): Float32Array => data.slice(i * size, (i + 1) * size);
      const calls = (stop - start) * callsPerSample;
      return own.map((c, i) => ({ ...c, x: row(at, i), clean: clean && row(clean, i), calls: c.calls + calls }));
    }),
    score: (candidates, round, steps) => inBatches(candidates, async (own) => {
      const finished = steps === plan.steps.length;
      const samples = samplesOf(task, stack(own.map((c) => (finished ? c.x : c.clean!))));
      const scores = await task.reward.score(samples, promptsOf(own));
      return own.map((c, i) => {
        const booked = bookCalls(c);
        bookScore(booked, scores[i]!, round, steps, finished);
        return { ...booked, score: scores[i]! };
      });
    }),
    release: () => network.release(),
  };
}
