/** @file `attune pretrain`: trains a network from scratch on a folder of captioned images. */
import { basename, extname, join } from 'node:path';
import { Command } from 'commander';
import { isObject } from '../formats/json.js';
import { problemOf } from '../formats/plain-issues.js';
import { shellWord } from '../formats/shell-word.js';
import { isMissing, MOST_BYTES, readText } from '../formats/whole-file.js';
import { checkWritable } from '../formats/writable.js';
import { parseYaml } from '../formats/yaml.js';
import { loadDataset } from '../training/pretrain/dataset.js';
import { isPairList, loadPairs } from '../training/pretrain/pairs.js';
import { recipeSchema } from '../training/pretrain/recipe.js';
import type { Recipe } from '../training/pretrain/recipe.js';
import { pretrain } from '../training/pretrain/run.js';
import { parseNumber, UsageError } from './arguments.js';
import { collect } from './option-values.js';
import { Interrupted, stopSignal } from './supervise.js';
import { terminalProgress } from './terminal.js';

interface Flags {
  recipe: string;
  data: string;
  out: string;
  work?: string;
  steps?: number;
  batch?: number;
  lr?: number;
  worse: string[];
  seed: number;
  threads?: number;
  resume?: boolean;
  fromExisting?: boolean;
  quiet?: boolean;
}

async function readRecipe(path: string, flags: Flags): Promise<Recipe> {
  const text = await readText(path, MOST_BYTES.settings).catch((cause: unknown) => {
    if (isMissing(cause)) throw new UsageError(`no recipe at ${path}; the bundled model's are in models/recipes`);
    throw cause;
  });
  const raw = parseYaml(text, path);
  if (!isObject(raw)) throw new UsageError(`${path} must hold settings, one a line`);
  const training = isObject(raw['training']) ? raw['training'] : {};
  const { steps, batch, lr } = flags;
  const given = Object.fromEntries(Object.entries({ steps, batch, lr }).filter(([, v]) => v !== undefined));
  const worse = flags.worse.length > 0 ? { worse: flags.worse } : {};
  const recipe = { ...raw, ...worse, training: { ...training, ...given } };
  const result = recipeSchema.safeParse(recipe);
  if (!result.success) {
    const problem = problemOf(result.error, recipe, recipeSchema);
    throw new UsageError(`${path}: ${problem.path || 'recipe'}: ${problem.text}`);
  }
  return result.data;
}

/** The command that goes on with a training. */
function againOf({ recipe, data, out, steps, batch, lr, seed, threads, worse }: Flags, work: string): string {
  const values = { recipe, data, out, work, steps, batch, lr, seed, threads };
  const words = Object.entries(values).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, String(value)]));
  return ['attune', 'pretrain', ...words, ...worse.flatMap((folder) => ['--worse', folder]), '--resume'].map(shellWord).join(' ');
}

async function run(flags: Flags): Promise<void> {
  const recipe = await readRecipe(flags.recipe, flags);
  const progress = terminalProgress(flags.quiet === true);
  const work = flags.work ?? join('runs', 'pretrain', basename(flags.recipe, extname(flags.recipe)));
  await checkWritable(flags.out, 'folder');
  await checkWritable(work, 'folder');
  progress.phase(`reading pictures from ${flags.data}`);
  const judged = recipe.network === 'reward-model';
  const onProgress = (done: number, total: number): void => {
    stopSignal.throwIfAborted();
    progress.step(done, total, 'pictures');
  };
  const pairs = judged && isPairList(flags.data) ? await loadPairs(flags.data, recipe.imageSize, onProgress) : null;
  const dataset = pairs?.winners ?? await loadDataset(flags.data, recipe.imageSize, { captioned: !judged, onProgress, onWarning: (text) => progress.warn(text) });
  const done = await pretrain(recipe, dataset, {
    out: flags.out,
    work,
    seed: flags.seed,
    resume: flags.resume === true,
    fromExisting: flags.fromExisting === true,
    checkpointSeconds: 120,
    progress,
    signal: stopSignal,
    again: againOf(flags, work),
    ...(pairs && { losers: pairs.losers }),
    ...(flags.threads === undefined ? {} : { threads: flags.threads }),
  });
  if (!done) throw stopSignal.reason ?? new Interrupted('SIGINT');
}

export function pretrainCommand(): Command {
  return new Command('pretrain')
    .description('Train a network from scratch on a folder of captioned images (VAE, denoiser, CLIP, style head), or a reward model on pictures you like and others.')
    .requiredOption('--recipe <file>', 'what to train and how (YAML; the bundled model\'s are in models/recipes)')
    .requiredOption('--data <dir>', 'images with metadata.jsonl (also as Hugging Face\'s datasets write it), or images with .txt captions beside them (a reward model needs no captions: images that you like, or a .csv, .tsv, .jsonl or .json list of pairs with columns prompt, winner, loser)')
    .option('--out <dir>', 'model folder to write to, in diffusers layout', 'models/emoji')
    .option('--work <dir>', 'folder for checkpoints and metrics (default: runs/pretrain/<recipe>)')
    .option('--steps <n>', 'train this many steps instead of the recipe\'s', parseNumber)
    .option('--batch <n>', 'images a step instead of the recipe\'s', parseNumber)
    .option('--lr <x>', 'learning rate instead of the recipe\'s', parseNumber)
    .option('--worse <dir>', 'of a reward model: pictures that shall score low, instead of the recipe\'s (repeatable)', collect, [])
    .option('--seed <n>', 'seed of weights, order and noise', parseNumber, 0)
    .option('--threads <n>', 'threads of one operator (default: all cores)', parseNumber)
    .option('--resume', 'go on from the last checkpoint in the work folder')
    .option('--from-existing', 'start from the weights in --out instead of from random ones')
    .option('--quiet', 'no progress')
    .action(run);
}
