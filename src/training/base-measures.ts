/** @file Measures rewards on the base model's images, before anything is trained: what scales and bounds are counted from. */
import { openRollouts } from '../methods/rollout.js';
import type { Objective } from '../rewards/objective.js';
import { openScorer } from '../rewards/scorer.js';
import type { Progress } from '../runs/progress.js';
import { sampleNoise } from '../sampling/sampler.js';
import type { RunConfig } from './config.js';
import type { PipelineTask } from './pipeline-task.js';
import { drawPrompts } from './prompts.js';
import type { PromptSet } from './prompts.js';

/** Of the noise: neither that of training nor that of evaluations. */
const SEED = 3_000_000;

export interface MeasuredTask {
  readonly config: RunConfig;
  readonly task: PipelineTask;
  readonly prompts: PromptSet;
  readonly objective: Objective;
}

/**
 * Samples as training does, from prompts as it draws them and noise that is the same in every run, and hands the scores to
 * the objective. The task must be the base model (`atBase`).
 */
export async function measureBase({ config, task, prompts: set, objective }: MeasuredTask, progress: Progress): Promise<void> {
  const { baseImages: count, device, threads } = config;
  progress.phase(`measuring the rewards on ${count} images of the base model`);
  const prompts = drawPrompts(set, SEED, 0, count);
  const rollouts = await openRollouts(task, 'tuned', sampleNoise(SEED));
  const scorer = openScorer(objective.judged, { compile: { device, ...(threads !== undefined && { threads }) } });
  const scores = new Map<string, number[]>();
  try {
    for (let start = 0; start < count; start += task.microbatch) {
      const part = prompts.slice(start, start + task.microbatch);
      const { x } = await rollouts.rollout(part, 0, { items: part.map((_, i) => start + i) });
      const { parts } = await scorer.scoreParts(await task.decode(x.at(-1)!), part);
      for (const [name, some] of parts) scores.set(name, [...(scores.get(name) ?? []), ...some]);
      progress.step(start + part.length, count, 'images sampled');
    }
  } finally {
    await scorer.release();
    await rollouts.release();
  }
  objective.measured(scores);
  const number = (x: number): string => String(Number(x.toPrecision(4)));
  progress.phase(`the base model's rewards, mean and deviation: ${Object.entries(objective.base()!.rewards)
    .map(([name, { mean, std }]) => `${name} ${number(mean)}, ${number(std)}`).join('; ')}`);
}
