/** @file Samples with captions to learn to denoise: pictures from a folder, or what the model itself draws. */
import type { HostTensor } from '../graph/dtype.js';
import { integers, uniform } from '../random/random.js';
import { openRollouts } from './rollout.js';
import type { Task, PolicyRole } from './task.js';

export interface Captioned {
  readonly clean: HostTensor; // [B, C, h, w]
  readonly prompts: readonly string[];
}

export interface CaptionedSource {
  /** A batch: pictures drawn at random with their captions, or samples for `prompts`. */
  next(prompts: readonly string[], round: number): Promise<Captioned>;
  release(): Promise<void>;
}

/** @param pictures folder of captioned images; null for samples of `which`, drawn as at sampling time */
export async function openCaptioned(task: Task, pictures: string | null, which: PolicyRole, stream: string): Promise<CaptionedSource> {
  if (pictures === null) {
    const rollouts = await openRollouts(task, which, stream);
    return {
      next: async (prompts, round) => ({ clean: (await rollouts.rollout(prompts, round)).x.at(-1)!, prompts }),
      release: () => rollouts.release(),
    };
  }
  const given = await task.data.pictures(pictures);
  return {
    async next({ length }, round) {
      const indices = [...integers({ seed: task.seed, stream, step: round }, 0, length, given.prompts.length)];
      return { clean: await given.samples(indices), prompts: indices.map((i) => given.prompts[i]!) };
    },
    release: async () => {},
  };
}

/** Prompts of which a share is left empty, so that the unconditional model is kept up to date (for guidance). */
export function emptySome(task: Task, prompts: readonly string[], share: number, stream: string, round: number): string[] {
  const draws = uniform({ seed: task.seed, stream: `${stream} empty`, step: round }, 0, prompts.length);
  return prompts.map((p, i) => (draws[i]! < share ? '' : p));
}
