/** @file A reward model of the votes: the bundled CLIP's image encoder trained on the pairs, as `attune pretrain` does it. */
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { writeAtomic } from '../formats/atomic.js';
import { exists } from '../formats/exists.js';
import { emoji } from '../loading/bundled.js';
import type { Launcher } from './launcher.js';
import { pairsFile } from './votes.js';

const CLIP = 'emoji-clip';
const folderOf = (root: string): string => join(root, 'votes', 'reward');

/** Of a few dozen pairs; the recipe lies beside them, to be changed. */
const RECIPE = {
  network: 'reward-model', name: 'taste', clip: CLIP, gradientPenalty: 0.05,
  training: { steps: 200, batch: 16, lr: 4e-4, warmup: 20, weightDecay: 0.05, emaDecay: 0.98 },
};

/** The reward of it as a run names it; null before there is one. */
export async function tasteReward(root: string): Promise<string | null> {
  const folder = join(folderOf(root), RECIPE.name);
  return await exists(join(folder, 'config.json')) ? `reward-model?folder=${folder.replaceAll(/&(?=\w+=)/g, '&&')}` : null;
}

/** Starts its training. @returns the run */
export async function trainTaste(root: string, launcher: Launcher): Promise<string> {
  const out = folderOf(root);
  const recipe = join(root, 'votes', 'reward-model.yaml');
  if (!(await exists(recipe))) await writeAtomic(recipe, `# The reward model of the votes. More pairs bear more steps.\n${stringify(RECIPE)}`);
  if (!(await exists(join(out, CLIP, 'config.json')))) await cp(join(emoji.folder, CLIP), join(out, CLIP), { recursive: true });
  return launcher.train('taste', (work) => ['pretrain', '--recipe', recipe, '--data', pairsFile(root), '--out', out, '--work', work]);
}
