/**
 * @file `bench real-rewards [--prompts NAME]`: what real pictures of a prompt list score on the bundled rewards and the
 * judge, as they are and as the VAE renders them: the measure of how far a gain can mean anything. The first eight prompts
 * are what a run evaluates.
 *
 * The dataset must have been built: `cd models/data && npm ci && node build.mjs`.
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { terminalProgress } from '../src/cli/terminal.js';
import { emoji } from '../src/loading/bundled.js';
import { openRewards, parseReward } from '../src/rewards/registry.js';
import { openScorer } from '../src/rewards/scorer.js';
import { deviation, meanOf } from '../src/evaluation/evaluation.js';
import { loadDataset, pictures } from '../src/training/pretrain/dataset.js';
import { rendered } from '../src/training/pretrain/latents.js';
import { loadPrompts } from '../src/training/prompts.js';

const SIDE = 64;

export async function benchRealRewards(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...args], options: { prompts: { type: 'string', default: 'people' } } });
  const dataset = await loadDataset('models/data/out', SIDE);
  const throughVae = await rendered(dataset, join(emoji.folder, 'vae'), { progress: terminalProgress(false) });
  const { prompts } = await loadPrompts(values.prompts);
  for (const list of [prompts.slice(0, 8), prompts]) {
    const indices = [...dataset.records.keys()].filter((i) => list.includes(dataset.records[i]!.prompt ?? ''));
    const own = indices.map((i) => dataset.records[i]!.prompt!);
    for (const [what, from] of [['as they are', dataset], ['through the VAE', throughVae]] as const) {
      const means = await Promise.all(['quality', 'emoji-clip', 'emoji-judge'].map(async (name) => {
        const scorer = openScorer(await openRewards([parseReward(name)]));
        const scores = await scorer.score(pictures(from, indices), own);
        await scorer.release();
        return `${name} ${meanOf(scores).toFixed(3)} ± ${deviation(scores).toFixed(3)}`;
      }));
      console.log(`${list.length} prompts of ${values.prompts}, ${indices.length} real pictures ${what}: ${means.join(', ')}`);
    }
  }
}
