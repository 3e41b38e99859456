/**
 * @file `bench bundled-model`: what the bundled model can do, beside real data: recognition of exact names by the judge,
 * variety within group prompts, styles told apart; and contact sheets for docs/bundled-model.md.
 *
 * The dataset must have been built: `cd models/data && npm ci && node build.mjs`.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { diversity } from '../src/evaluation/diversity.js';
import { openFeatures } from '../src/evaluation/features.js';
import { frechetDistance, gaussianStatistics } from '../src/evaluation/frechet.js';
import { captionRanks, topK } from '../src/evaluation/retrieval.js';
import { imageGrid } from '../src/formats/image-grid.js';
import { writePng } from '../src/formats/image.js';
import { host } from '../src/graph/dtype.js';
import type { HostTensor } from '../src/graph/dtype.js';
import { bundledFolder, loadPipeline } from '../src/models/load.js';
import { permutation } from '../src/random/random.js';
import { openRewards, parseReward } from '../src/rewards/registry.js';
import { openScorer } from '../src/rewards/scorer.js';
import { sampleImages } from '../src/sampling/sampler.js';
import { samplers } from '../src/schedulers/index.js';
import { readSchedulerConfig } from '../src/schedulers/scheduler-config.js';
import { loadDataset, pictures } from '../src/training/pretrain/dataset.js';
import type { Dataset } from '../src/training/pretrain/dataset.js';
import { loadPrompts } from '../src/training/prompts.js';

const GUIDANCE = 3;
const STEPS = 25;
/** Names that are drawn and recognised, each in both styles. */
const NAMES = 150;
const GROUPS = 12;
const PER_GROUP = 16;

async function samples(prompts: readonly string[], seed: number): Promise<HostTensor> {
  const pipeline = await loadPipeline('emoji');
  const { schedule, options } = readSchedulerConfig(pipeline.scheduler, 'scheduler');
  const plan = samplers.ddim.plan(schedule, STEPS, options);
  const all: Float32Array[] = [];
  const job = { prompts, seed, negativePrompt: '', guidance: GUIDANCE, plan, height: 64, width: 64, batch: 16, compile: {} };
  for await (const part of sampleImages(pipeline, job)) all.push(...part.map((s) => s.image.data as Float32Array));
  const data = new Float32Array(all.length * 3 * 64 * 64);
  all.forEach((image, i) => data.set(image, i * image.length));
  return host(data, [all.length, 3, 64, 64]);
}

const one = (images: HostTensor, i: number): HostTensor =>
  host((images.data as Float32Array).subarray(i * 12288, (i + 1) * 12288), [3, 64, 64]);

async function sheet(path: string, images: HostTensor, labels: readonly string[], columns: number): Promise<void> {
  const cells = labels.map((_, i) => one(images, i));
  await writePng(path, await imageGrid(cells, { columns, labels, minWidth: 64 }));
}

interface Drawn {
  index: number;
  prompt: string;
  style: string;
}

/** Names in random order, each in both styles. */
function drawNames(dataset: Dataset): Drawn[] {
  const order = permutation({ seed: 7, stream: 'bundled-model', step: 0 }, 0, dataset.records.length);
  const styles = new Map<string, Drawn[]>();
  for (const index of order) {
    const { prompt, style } = dataset.records[index]! as { prompt: string; style: string };
    const both = styles.get(prompt) ?? [];
    styles.set(prompt, [...both, { index, prompt, style }]);
  }
  return [...styles.values()].filter((b) => b.length === 2).slice(0, NAMES).flat();
}

export async function benchBundledModel(): Promise<void> {
  const out = 'docs/bundled-model';
  await mkdir(out, { recursive: true });
  const root = bundledFolder('emoji');
  const dataset = await loadDataset('models/data/out', 64);
  const names = (await loadPrompts('names')).prompts;
  const judge = await openFeatures(join(root, 'emoji-judge'), { tokenizer: join(root, 'tokenizer') });
  const clip = await openFeatures(join(root, 'emoji-clip'), { tokenizer: join(root, 'tokenizer') });

  const drawn = drawNames(dataset);
  const prompts = drawn.map((d) => `${d.prompt}, ${d.style}`);
  const made = await samples(prompts, 1000);
  const real = pictures(dataset, drawn.map((d) => d.index));
  const own = drawn.map((d) => names.indexOf(d.prompt));
  const captions = await judge.texts(names);
  const [ranksMade, ranksReal] = [captionRanks(await judge.images(made), captions, own), captionRanks(await judge.images(real), captions, own)];
  const [topMade, topReal] = [topK(ranksMade, 5), topK(ranksReal, 5)];
  console.log(`judge, own name among the top 5 of ${names.length}: real ${topReal.toFixed(3)}, samples ${topMade.toFixed(3)}, ratio ${(topMade / topReal).toFixed(3)} (${drawn.length} images each)`);

  const style = openScorer(await openRewards([parseReward('style')]));
  const told = async (images: HostTensor): Promise<number> => {
    const scores = await style.score(images, prompts);
    return drawn.filter((d, i) => scores[i]! > 0 === (d.style === '3d')).length / drawn.length;
  };
  console.log(`style told apart: real ${(await told(real)).toFixed(3)}, samples ${(await told(made)).toFixed(3)}`);
  const [a, b] = [gaussianStatistics(await clip.images(made)), gaussianStatistics(await clip.images(real))];
  console.log(`Fréchet distance of samples to the real pictures of the same names: ${frechetDistance(a, b).toFixed(4)}`);

  const groups = (await loadPrompts('groups')).prompts.slice(0, GROUPS);
  const groupPrompts = groups.flatMap((g) => new Array<string>(PER_GROUP).fill(g));
  const groupMade = await samples(groupPrompts, 5000);
  const members = groups.flatMap((g) => {
    const all = dataset.records.map((r, i) => (r.phrases?.includes(g) ? i : -1)).filter((i) => i >= 0);
    const order = permutation({ seed: 7, stream: `group ${g}`, step: 0 }, 0, all.length);
    return Array.from({ length: PER_GROUP }, (_, i) => all[order[i % all.length]!]!);
  });
  const groupReal = pictures(dataset, members);
  const [dMade, dReal] = [diversity(await clip.images(groupMade), groupPrompts), diversity(await clip.images(groupReal), groupPrompts)];
  console.log(`diversity within ${groups.length} group prompts: real ${dReal.toFixed(3)}, samples ${dMade.toFixed(3)}, ratio ${(dMade / dReal).toFixed(3)}`);

  const shown = prompts.slice(0, 48);
  await sheet(join(out, 'names-samples.png'), made, shown, 8);
  await sheet(join(out, 'names-real.png'), real, shown, 8);
  await sheet(join(out, 'groups-samples.png'), groupMade, groupPrompts.slice(0, 96), 16);
  await sheet(join(out, 'groups-real.png'), groupReal, groupPrompts.slice(0, 96), 16);
}
