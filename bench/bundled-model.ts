/**
 * @file `bench bundled-model`: what the bundled model can do, beside real data: recognition of exact names by the
 * judge, styles told apart, Fréchet distance, variety within group prompts; and contact sheets for
 * docs/bundled-model.md.
 *
 * The dataset must have been built: `cd models/data && npm ci && node build.mjs`.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { terminalProgress } from '../src/cli/terminal.js';
import { diversity } from '../src/evaluation/diversity.js';
import { openFeatures } from '../src/evaluation/features.js';
import type { ClipFeatures } from '../src/evaluation/features.js';
import { frechetDistance, gaussianStatistics } from '../src/evaluation/frechet.js';
import { captionRanks, topK } from '../src/evaluation/retrieval.js';
import { imageGrid } from '../src/formats/image-grid.js';
import { writePng } from '../src/formats/image.js';
import { host } from '../src/graph/dtype.js';
import type { HostTensor } from '../src/graph/dtype.js';
import { emoji } from '../src/loading/bundled.js';
import { loadPipeline } from '../src/loading/load.js';
import { permutation } from '../src/random/random.js';
import { clipHead } from '../src/rewards/clip-head.js';
import { openScorer } from '../src/rewards/scorer.js';
import type { Scorer } from '../src/rewards/scorer.js';
import { sampleImages } from '../src/sampling/sampler.js';
import { samplers } from '../src/schedulers/index.js';
import type { SamplerName } from '../src/schedulers/index.js';
import { readSchedulerConfig } from '../src/schedulers/scheduler-config.js';
import { loadDataset, pictures } from '../src/training/pretrain/dataset.js';
import type { Dataset } from '../src/training/pretrain/dataset.js';
import { rendered } from '../src/training/pretrain/latents.js';
import { loadPrompts } from '../src/training/prompts.js';
import { realStatistics } from './real-statistics.js';

const USAGE = `npm run bench -- bundled-model [--model FOLDER] [--quick] [--guidance X] [--sampler NAME] [--steps N]
  [--names N] [--threads N] [--out FOLDER] [--statistics]
--model    folder in diffusers layout with emoji-clip, emoji-judge and style-head beside the pipeline
--quick    few images, for two minutes on one thread; the figures are rough
--names    how many names are drawn, each in both styles (default: 150, or 32 with --quick; there are 1,607)
--statistics  only makes statistics/real.safetensors beside the model, if it is not up to date
--out      where the sheets go (default: docs/bundled-model for a whole run of the bundled model, else runs/bench)`;

/** Names that are drawn and recognised, each in both styles; groups, and images of each. */
const WHOLE = { names: 150, groups: 12, perGroup: 16 };
const QUICK = { names: 32, groups: 6, perGroup: 8 };
const SIDE = 64;
/** Names and groups on a sheet. */
const SHOWN = { names: 48, groups: 96 };

/** A setting of the command line, read. */
interface Settings {
  root: string;
  out: string;
  amount: typeof WHOLE;
  guidance: number;
  sampler: SamplerName;
  steps: number;
  threads: number | undefined;
  onlyStatistics: boolean;
}

function readSettings(args: readonly string[]): Settings {
  const { values } = parseArgs({
    args: [...args],
    options: {
      model: { type: 'string' }, quick: { type: 'boolean', default: false }, out: { type: 'string' },
      guidance: { type: 'string', default: '2' }, sampler: { type: 'string', default: 'ddim' },
      steps: { type: 'string', default: '25' }, threads: { type: 'string' },
      names: { type: 'string' }, statistics: { type: 'boolean', default: false },
    },
  });
  const { model, quick, out, threads, sampler, statistics, names } = values;
  const amount = quick ? QUICK : WHOLE;
  if (!Object.hasOwn(samplers, sampler)) throw new Error(`no sampler ${sampler}\n${USAGE}`);
  return {
    root: model ?? emoji.folder,
    out: out ?? (model === undefined && !quick ? 'docs/bundled-model' : 'runs/bench/bundled-model'),
    amount: { ...amount, ...(names !== undefined && { names: Number(names) }) },
    guidance: Number(values.guidance),
    sampler: sampler as SamplerName,
    steps: Number(values.steps),
    threads: threads === undefined ? undefined : Number(threads),
    onlyStatistics: statistics,
  };
}

/** Samples one image a prompt, image i with seed + i: [N, 3, 64, 64]. */
async function samples(prompts: readonly string[], seed: number, settings: Settings): Promise<HostTensor> {
  const { root, guidance, sampler, steps, threads } = settings;
  const progress = terminalProgress(false);
  progress.phase(`sampling ${prompts.length} images: ${sampler}, ${steps} steps, guidance ${guidance}`);
  const pipeline = await loadPipeline(root);
  const { process, options } = readSchedulerConfig(pipeline.scheduler, root);
  const plan = samplers[sampler].plan(process, steps, options);
  const job = {
    prompts, seed, negativePrompt: '', guidance, plan, height: SIDE, width: SIDE, batch: 16,
    compile: threads === undefined ? {} : { threads },
  };
  const pixels = 3 * SIDE * SIDE;
  const data = new Float32Array(prompts.length * pixels);
  const onStep = (done: number, total: number): void => progress.step(done, total, 'steps');
  for await (const part of sampleImages(pipeline, { ...job, onStep })) {
    for (const { index, image } of part) data.set(image.data as Float32Array, index * pixels);
  }
  return host(data, [prompts.length, 3, SIDE, SIDE]);
}

async function sheet(path: string, images: HostTensor, labels: readonly string[], columns: number): Promise<void> {
  const pixels = 3 * SIDE * SIDE;
  const cells = labels.map((_, i) =>
    host((images.data as Float32Array).subarray(i * pixels, (i + 1) * pixels), [3, SIDE, SIDE]));
  await writePng(path, await imageGrid(cells, { columns, labels, minWidth: SIDE }));
}

interface Drawn {
  index: number;
  prompt: string;
  style: string;
}

/** Names in random order, each in both styles. */
function drawNames(dataset: Dataset, count: number): Drawn[] {
  const order = permutation({ seed: 7, stream: 'bundled-model', step: 0 }, 0, dataset.records.length);
  const styles = new Map<string, Drawn[]>();
  for (const index of order) {
    const { prompt, style } = dataset.records[index]! as { prompt: string; style: string };
    styles.set(prompt, [...(styles.get(prompt) ?? []), { index, prompt, style }]);
  }
  return [...styles.values()].filter((both) => both.length === 2).slice(0, count).flat();
}

/** Random pictures of each group. */
function drawMembers(dataset: Dataset, groups: readonly string[], perGroup: number): number[] {
  return groups.flatMap((group) => {
    const all = dataset.records.flatMap((record, i) => (record.phrases?.includes(group) ? [i] : []));
    const order = permutation({ seed: 7, stream: `group ${group}`, step: 0 }, 0, all.length);
    return Array.from({ length: perGroup }, (_, i) => all[order[i % all.length]!]!);
  });
}

/** The networks that measure. */
interface Instruments {
  judge: ClipFeatures;
  clip: ClipFeatures;
  style: Scorer;
}

async function openInstruments({ root, threads }: Settings): Promise<Instruments> {
  const options = { compile: threads === undefined ? {} : { threads } };
  const tokenizer = join(root, 'tokenizer');
  const [clip, head] = [join(root, 'emoji-clip'), join(root, 'style-head', 'model.safetensors')];
  const style = await clipHead({ name: 'style', description: '', range: [-8, 8], clip, head });
  return {
    judge: await openFeatures(join(root, 'emoji-judge'), { tokenizer, ...options }),
    clip: await openFeatures(clip, { tokenizer: null, ...options }),
    style: openScorer(style, options),
  };
}

const share = (x: number): string => `${(100 * x).toFixed(1)}%`;

interface NameFigures {
  top5: number;
  medianRank: number;
  styleTold: number;
  frechet: number;
}

function tellNames(label: string, figures: NameFigures, count: number): void {
  const { top5, medianRank, styleTold, frechet } = figures;
  console.log(`${label.padEnd(22)} own name in the judge's top 5 of ${count} ${share(top5)}, `
    + `median rank ${medianRank}; style told ${share(styleTold)}; Fréchet ${frechet.toFixed(4)}`);
}

async function measureNames(dataset: Dataset, with_: Instruments, settings: Settings): Promise<void> {
  const { judge, clip, style } = with_;
  const drawn = drawNames(dataset, settings.amount.names);
  const prompts = drawn.map((d) => `${d.prompt}, ${d.style}`);
  const made = await samples(prompts, 1000, settings);
  const real = pictures(dataset, drawn.map((d) => d.index));
  const throughVae = await rendered(dataset, join(settings.root, 'vae'), { progress: terminalProgress(false), threads: settings.threads });

  const names = (await loadPrompts('names')).prompts;
  const captions = await judge.texts(names);
  const own = drawn.map((d) => names.indexOf(d.prompt));
  const all = await realStatistics(settings.root, clip, dataset);
  const measure = async (images: HostTensor): Promise<NameFigures> => {
    const ranks = captionRanks(await judge.images(images), captions, own);
    const scores = await style.score(images, prompts);
    return {
      top5: topK(ranks, 5),
      medianRank: ranks.toSorted()[ranks.length >> 1]! + 1,
      styleTold: drawn.filter((d, i) => scores[i]! > 0 === (d.style === '3d')).length / drawn.length,
      frechet: frechetDistance(gaussianStatistics(await clip.images(images)), all),
    };
  };
  const [ofReal, ofMade] = [await measure(real), await measure(made)];
  console.log(`${drawn.length} pictures of ${settings.amount.names} names; Fréchet distance to all ${all.count} real pictures, emoji-clip features`);
  tellNames('real pictures', ofReal, names.length);
  tellNames('real, through the VAE', await measure(pictures(throughVae, drawn.map((d) => d.index))), names.length);
  tellNames('samples', ofMade, names.length);
  console.log(`  of the real pictures' top 5: ${share(ofMade.top5 / ofReal.top5)} (goal 60%; of style told: 90%)`);
  await sheet(join(settings.out, 'names-samples.png'), made, prompts.slice(0, SHOWN.names), 8);
  await sheet(join(settings.out, 'names-real.png'), real, prompts.slice(0, SHOWN.names), 8);
}

async function measureGroups(dataset: Dataset, { clip }: Instruments, settings: Settings): Promise<void> {
  const { groups: count, perGroup } = settings.amount;
  const groups = (await loadPrompts('groups')).prompts.slice(0, count);
  const prompts = groups.flatMap((group) => new Array<string>(perGroup).fill(group));
  const made = await samples(prompts, 5000, settings);
  const real = pictures(dataset, drawMembers(dataset, groups, perGroup));
  const variety = async (images: HostTensor): Promise<number> => diversity(await clip.images(images), prompts);
  const [inReal, inMade] = [await variety(real), await variety(made)];
  console.log(`variety within ${groups.length} group prompts: real ${inReal.toFixed(3)}, samples ${inMade.toFixed(3)}, `
    + `ratio ${share(inMade / inReal)} (goal 70%; ${perGroup} images each)`);
  const shown = prompts.slice(0, SHOWN.groups);
  await sheet(join(settings.out, 'groups-samples.png'), made, shown, perGroup);
  await sheet(join(settings.out, 'groups-real.png'), real, shown, perGroup);
}

export async function benchBundledModel(args: readonly string[]): Promise<void> {
  const settings = readSettings(args);
  await mkdir(settings.out, { recursive: true });
  const dataset = await loadDataset('models/data/out', SIDE);
  const instruments = await openInstruments(settings);
  if (settings.onlyStatistics) {
    await realStatistics(settings.root, instruments.clip, dataset);
    return;
  }
  await measureNames(dataset, instruments, settings);
  await measureGroups(dataset, instruments, settings);
  console.log(`sheets: ${settings.out}`);
}
