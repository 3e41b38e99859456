/**
 * @file `bench real-rewards [--prompts NAME]`: what real pictures of a prompt list score on the bundled reward and judge:
 * the measure of how far a gain can mean anything. The first eight prompts are what a run evaluates.
 *
 * The dataset must have been built: `cd models/data && npm ci && node build.mjs`.
 */
import { parseArgs } from 'node:util';
import { meanOf } from '../src/methods/reward-loss.js';
import { openRewards, parseReward } from '../src/rewards/registry.js';
import { openScorer } from '../src/rewards/scorer.js';
import { loadDataset, pictures } from '../src/training/pretrain/dataset.js';
import { loadPrompts } from '../src/training/prompts.js';

const SIDE = 64;

export async function benchRealRewards(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...args], options: { prompts: { type: 'string', default: 'people' } } });
  const dataset = await loadDataset('models/data/out', SIDE);
  const { prompts } = await loadPrompts(values.prompts);
  for (const list of [prompts.slice(0, 8), prompts]) {
    const indices = [...dataset.records.keys()].filter((i) => list.includes(dataset.records[i]!.prompt ?? ''));
    const own = indices.map((i) => dataset.records[i]!.prompt!);
    const means = await Promise.all(['emoji-clip', 'emoji-judge'].map(async (name) => {
      const scorer = openScorer(await openRewards([parseReward(name)]));
      const mean = meanOf(await scorer.score(pictures(dataset, indices), own));
      await scorer.release();
      return `${name} ${mean.toFixed(3)}`;
    }));
    console.log(`${list.length} prompts of ${values.prompts}, ${indices.length} real pictures: ${means.join(', ')}`);
  }
}
