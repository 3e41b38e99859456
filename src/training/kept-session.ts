/** @file A run that is over, or goes on elsewhere, looked at again: its weights of a step at several strengths, and as a LoRA. */
import { join } from 'node:path';
import { exists } from '../formats/exists.js';
import { ConfigError } from '../formats/errors.js';
import { besideRun, picturesAt, savePictures } from '../runs/pictures.js';
import type { Progress } from '../runs/progress.js';
import { readView } from '../runs/view.js';
import { firstSeed } from './evaluate.js';
import { keptWeights } from './kept-weights.js';
import { loadParameters } from './parameters.js';
import { openSession } from './session.js';
import type { Session } from './session.js';
import { storedConfig } from './stored-config.js';

/** Opens a run's session with its weights of a step. @throws ConfigError if they are not there, or no LoRA was trained */
export async function openKept(folder: string, step: number, progress: Progress, signal?: AbortSignal): Promise<Session> {
  const config = await storedConfig(folder);
  if (config.train !== 'lora') throw new ConfigError(`${folder} trained all weights: there is no LoRA with a strength. Its weights are in model/`);
  const weights = await keptWeights(folder, config, step);
  const session = await openSession(config, progress, {}, signal);
  loadParameters(session.task.parameters, weights);
  return session;
}

/**
 * Makes pictures of a run's weights at strengths, on the evaluation's prompts and noise, where they are not there yet, and
 * tells its log of them. Strength 0 is the base model, whose pictures are those of step 0.
 *
 * @param count prompts
 * @returns how many pictures were made
 */
export async function sweep(
  folder: string, step: number, strengths: readonly number[], count: number, progress: Progress, signal?: AbortSignal,
): Promise<number> {
  const view = await readView(folder);
  if (!view) throw new ConfigError(`${folder} has no log, so its pictures could not be found again; it was begun by a version of Attune that kept none`);
  const there = new Set<string>();
  for (const { step: at, strength, index, file } of view.images) if (await exists(join(folder, file))) there.add([at, strength, index].join());
  // The base model's pictures tell which there can be.
  const base = picturesAt(view, 0);
  if (base.length === 0) throw new ConfigError(`${folder} has no pictures of the base model, so it is not known of what there could be more`);
  const firsts = base.filter(({ prompt }, i) => base.findIndex((other) => other.prompt === prompt) === i).slice(0, count).map(({ index }) => index);
  const columns = [...new Set(strengths)].map((strength) => {
    const at = strength === 0 ? { step: 0, strength: 1 } : { step, strength };
    return { strength, at, places: firsts.filter((i) => !there.has([at.step, at.strength, i].join())) };
  }).filter(({ places }) => places.length > 0);
  if (columns.length === 0) return 0;
  const session = await openKept(folder, step, progress, signal);
  const { prompts } = session.evaluator.selection;
  let made = 0;
  const beside = await besideRun(folder);
  try {
    for (const { strength, at, places } of columns) {
      progress.phase(`${places.length} pictures of step ${step} at strength ${strength}`);
      session.task.setStrength(strength);
      const images = await session.evaluator.sample(`at strength ${strength}`, places);
      await savePictures(beside, { images, prompts: places.map((i) => prompts[i]!), places }, { ...at, seed: firstSeed(session) });
      made += places.length;
    }
  } finally {
    beside.close();
    await session.release();
  }
  return made;
}
