/** @file What there is to choose from, by name: models, methods, rewards, prompt lists, samplers, searches, devices. */
import { join } from 'node:path';
import { exists } from '../formats/exists.js';
import { METHODS } from '../methods/index.js';
import { BUNDLED_MODELS } from '../loading/bundled.js';
import { families } from '../models/families/registry.js';
import { REWARDS } from '../rewards/registry.js';
import { samplers } from '../schedulers/index.js';
import { SEARCHES } from '../search/index.js';
import { bundledPrompts, loadPrompts } from './prompts.js';
import { recipeAbout, recipeNames } from './recipes.js';

/** One thing that can be chosen: columns by title. Lists and flags stay what they are in JSON. */
export type Row = Readonly<Record<string, string | number | boolean | readonly string[]>>;

async function models(): Promise<Row[]> {
  const bundled = await Promise.all(BUNDLED_MODELS.map(async ({ name, folder, notes }): Promise<Row> => {
    const complete = await exists(join(folder, 'model_index.json'));
    return { name, from: ['bundled'], notes: complete ? notes : 'its weights are not installed' };
  }));
  const tiny = { name: 'AutoencoderTiny (TAESD)', from: ['folder', 'hub'], notes: 'as the autoencoder of any of these' };
  return [...bundled, ...families().flatMap(({ listed }) => listed.map((row): Row => ({ ...row }))), tiny];
}

const prompts = async (): Promise<Row[]> => Promise.all((await bundledPrompts()).map(async (name) => {
  const { prompts: list } = await loadPrompts(name);
  return { name, count: list.length, examples: list.slice(0, 3) };
}));

/** What was run where, and nothing that was not. */
const DEVICES: readonly Row[] = [
  { name: 'cpu', proven: 'all models, methods and tests' },
  { name: 'webgpu', proven: 'on software drivers alone: lavapipe, small SD 1.x and 2.x models: updates of twelve methods with a LoRA, draft on all weights; SDXL: refl, draft-lv, ddpo, dpo, draft on all weights; '
    + 'SD 1.x: train, eval, search, sample; bundled model: draft-lv; mixed precision: refl, draft-lv, ddpo; SwiftShader: refl, sample. No GPU, no model of full size' },
  { name: 'cuda', proven: 'nothing; attune doctor tries it' },
];

export const LISTS = {
  models,
  methods: async () => METHODS.map(({ name, summary, needs, paper }): Row => (
    { name, reward: needs.differentiableReward ? 'differentiable' : 'any', summary, paper })),
  rewards: async () => REWARDS.map(({ name, differentiable, options, description }): Row => (
    { name, differentiable, options: Object.keys(options.shape), description })),
  prompts,
  samplers: async () => Object.entries(samplers).map(([name, { summary, options }]): Row => (
    { name, flags: ['spacing', 'sigmas', 'eta'].filter((key) => Object.hasOwn(options.shape, key)).map((key) => `--${key}`), summary })),
  searches: async () => SEARCHES.map(({ name, summary, options, paper }): Row => (
    { name, summary, options: Object.keys(options.shape), paper })),
  devices: async () => DEVICES,
  recipes: async () => Promise.all((await recipeNames()).map(async (name): Promise<Row> => ({ name, about: await recipeAbout(name) }))),
} as const satisfies Record<string, () => Promise<readonly Row[]>>;
