/** @file How much better than usual each sample's reward is: what policy gradients weigh log-probabilities with. */
import { meanOf } from '../evaluation/evaluation.js';
import type { HostTensor } from '../graph/dtype.js';
import { host } from '../graph/dtype.js';

export interface PromptStatistics {
  /** Rewards remembered for each prompt, the latest. */
  readonly buffer: number;
  /** Fewer than these, and the statistics of all samples of the round stand in. */
  readonly minCount: number;
}

/** Mean, and deviation without Bessel's correction (numpy's default, as in the published code). */
function moments(values: ArrayLike<number>): { mean: number; deviation: number } {
  const mean = meanOf(values);
  const variance = meanOf(Array.from(values, (v) => (v - mean) ** 2));
  return { mean, deviation: Math.sqrt(variance) };
}

/**
 * (r − mean)/deviation, limited to ±limit. With `perPrompt`, mean and deviation are those of the prompt's latest rewards,
 * this round's included (ddpo-pytorch stat_tracking.py, deviation + 1e-6); without, those of the round (train.py:435,
 * deviation + 1e-8).
 *
 * @param memory keeps the latest rewards of each prompt, changed in place
 */
export function advantages(
  rewards: readonly number[], prompts: readonly string[], memory: Map<string, HostTensor>,
  perPrompt: PromptStatistics | null, limit: number,
): Float32Array {
  const round = moments(rewards);
  const limited = (r: number, { mean, deviation }: typeof round, epsilon: number): number =>
    Math.max(-limit, Math.min(limit, (r - mean) / (deviation + epsilon)));
  if (!perPrompt) return Float32Array.from(rewards, (r) => limited(r, round, 1e-8));

  const byPrompt = new Map<string, typeof round>();
  for (const prompt of new Set(prompts)) {
    const name = `rewards/${prompt}`;
    const before = Array.from((memory.get(name)?.data ?? []) as Float32Array);
    const latest = [...before, ...rewards.filter((_, i) => prompts[i] === prompt)].slice(-perPrompt.buffer);
    memory.set(name, host(Float32Array.from(latest), [latest.length]));
    byPrompt.set(prompt, latest.length < perPrompt.minCount ? round : moments(latest));
  }
  return Float32Array.from(rewards, (r, i) => limited(r, byPrompt.get(prompts[i]!)!, 1e-6));
}

/**
 * (r − mean of the group)/deviation, limited to ±limit; a group are the samples of one prompt. The deviation is that of
 * all rewards of the round or of the group's (+ 1e-4: flow_grpo, AWM, DiffusionNFT), or with Bessel's correction (+ 1e-8:
 * DanceGRPO).
 */
export function groupAdvantages(
  rewards: readonly number[], prompts: readonly string[], by: 'round' | 'group' | 'unbiased', limit: number,
): Float32Array {
  const all = moments(rewards).deviation;
  const groups = new Map([...new Set(prompts)].map((prompt) => {
    const own = rewards.filter((_, i) => prompts[i] === prompt);
    const { mean, deviation } = moments(own);
    const scale = { round: all + 1e-4, group: deviation + 1e-4, unbiased: deviation * Math.sqrt(own.length / (own.length - 1)) + 1e-8 }[by];
    return [prompt, { mean, scale }];
  }));
  return Float32Array.from(rewards, (r, i) => {
    const { mean, scale } = groups.get(prompts[i]!)!;
    return Math.max(-limit, Math.min(limit, (r - mean) / scale));
  });
}
