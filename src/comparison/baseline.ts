/** @file What needs no training: the base model, and the best of n samples of it, as run folders like any other. */
import { join } from 'node:path';
import type { z } from 'zod';
import { writeAtomic } from '../formats/atomic.js';
import type { HostTensor } from '../graph/dtype.js';
import type { Counts } from '../methods/counted.js';
import { measured } from '../methods/work.js';
import { peakBytes } from '../machine/memory.js';
import { bestOfN } from '../search/best-of-n.js';
import { openExplorer } from '../search/explorer.js';
import { evaluationRow } from '../runs/rows.js';
import type { RunFolder } from '../runs/folder.js';
import { savePictures } from '../runs/pictures.js';
import { firstSeed } from '../training/evaluate.js';
import type { Measuring } from '../training/measuring.js';
import type { recordSchema } from '../runs/summary.js';

/** For each evaluation image the best, by the training reward, of n samples that no other image or seed has. */
async function bestImages(
  { model, evaluator, config }: Measuring, n: number,
): Promise<{ images: HostTensor; counts: Counts; seconds: number }> {
  const { plan, selection: { prompts } } = evaluator;
  const explorer = await openExplorer({ ...model, plan, seed: config.evaluation.seed });
  const began = performance.now();
  // The first so many items are the noise of the evaluation's own images.
  const items = prompts.map((_, i) => (config.seed + 1) * prompts.length + i);
  const { samples, counts } = await measured(model, `best of ${n} from item ${items[0]}`, () => bestOfN.run(explorer, { n }, { prompts, items }))
    .finally(() => explorer.release());
  const seconds = (performance.now() - began) / 1000;
  return { images: await model.decode(samples), counts, seconds };
}

/**
 * Measures a baseline into a run folder: one line of metrics at step 0, a sheet of pictures, a summary. For the base
 * model the summary also has `independentFrechet`, the distance to as many samples of its own from other noise.
 *
 * @param n samples for each image; 1 is the base model
 */
export async function measureBaseline(measuring: Measuring, folder: RunFolder, n: number): Promise<void> {
  const { evaluator } = measuring;
  const base = await evaluator.measure(0, null);
  const found = await bestImages(measuring, n);
  const chosen = await evaluator.assess(found.images, 0, base);
  const shown = n === 1 ? base : chosen;
  const free = { rewardQueries: 0, denoiserCalls: 0, seconds: 0 };
  const spent = n === 1 ? free : { ...found.counts, seconds: found.seconds };
  await folder.rewind(-1);
  // Of the best of several samples the winner's noise is not told.
  await savePictures(folder, shown, { step: 0, seed: n === 1 ? firstSeed(measuring) : null });
  await folder.emit({ type: 'evaluation', row: { ...evaluationRow(shown.evaluation), ...spent }, best: 0 });
  const summary: z.input<typeof recordSchema> = {
    peakBytes: peakBytes(), best: 0, ...(n === 1 && { independentFrechet: chosen.evaluation.frechet }),
  };
  await writeAtomic(join(folder.path, 'summary.json'), `${JSON.stringify(summary, null, 2)}\n`);
  await folder.emit({ type: 'ended', how: 'finished' });
}
