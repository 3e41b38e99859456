/** @file `attune list`: what there is to choose from, by name. */
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { Argument, Command } from 'commander';
import { METHODS } from '../methods/index.js';
import { BUNDLED_MODELS, bundledFolder } from '../models/load.js';
import { REWARDS } from '../rewards/registry.js';
import { samplers } from '../schedulers/index.js';
import { SEARCHES } from '../search/index.js';
import { bundledPrompts, loadPrompts } from '../training/prompts.js';
import { table } from './table.js';

/** One thing that can be chosen: columns by title. Lists and flags stay what they are in JSON. */
type Row = Readonly<Record<string, string | number | boolean | readonly string[]>>;

/** What can be loaded from a folder in diffusers layout, a single file with the original names, or a hub id. */
const ARCHITECTURES: readonly Row[] = [
  { name: 'Stable Diffusion 1.x', from: ['folder', 'hub', 'single file'], notes: 'and fine-tunes of it' },
  { name: 'Stable Diffusion 2.x', from: ['folder', 'hub', 'single file'], notes: 'single files: v-prediction only' },
  { name: 'SDXL', from: ['folder', 'hub', 'single file'], notes: 'base model; no refiner' },
  { name: 'BK-SDM, tiny-sd, small-sd', from: ['folder', 'hub'], notes: 'distillations of Stable Diffusion 1.x' },
  { name: 'SD-Turbo, SDXL-Turbo', from: ['folder', 'hub'], notes: 'with --guidance 1 and 1 to 4 steps' },
  { name: 'LCM', from: ['folder', 'hub', 'single file'], notes: 'with --sampler lcm' },
  { name: 'models of attune pretrain', from: ['folder'], notes: 'any size of the same parts' },
  { name: 'AutoencoderTiny (TAESD)', from: ['folder', 'hub'], notes: 'as the autoencoder of any of these' },
];

async function models(): Promise<Row[]> {
  const bundled = await Promise.all(BUNDLED_MODELS.map(async (name): Promise<Row> => {
    const complete = await access(join(bundledFolder(name), 'model_index.json')).then(() => true, () => false);
    return { name, from: ['bundled'], notes: complete ? 'text to 64 x 64 emoji' : 'its weights are not installed' };
  }));
  return [...bundled, ...ARCHITECTURES];
}

const prompts = async (): Promise<Row[]> => Promise.all((await bundledPrompts()).map(async (name) => {
  const { prompts: list } = await loadPrompts(name);
  return { name, count: list.length, examples: list.slice(0, 3) };
}));

const LISTS = {
  models,
  methods: async () => METHODS.map(({ name, summary, needs, paper }): Row => (
    { name, reward: needs.differentiableReward ? 'differentiable' : 'any', summary, paper })),
  rewards: async () => REWARDS.map(({ name, differentiable, options, description }): Row => (
    { name, differentiable, options: Object.keys(options.shape), description })),
  prompts,
  samplers: async () => Object.entries(samplers).map(([name, { summary }]): Row => ({ name, summary })),
  searches: async () => SEARCHES.map(({ name, summary, options, paper }): Row => (
    { name, summary, options: Object.keys(options.shape), paper })),
} as const satisfies Record<string, () => Promise<Row[]>>;

const cell = (value: Row[string]): string =>
  (typeof value === 'boolean' ? (value ? 'yes' : 'no') : Array.isArray(value) ? value.join(', ') : String(value));

export function listCommand(): Command {
  return new Command('list')
    .description('Show what there is: models, methods, rewards, prompt lists, samplers or searches.')
    .addArgument(new Argument('<what>').choices(Object.keys(LISTS)))
    .option('--json', 'as JSON')
    .addHelpText('after', '\nExample:\n  attune list rewards\n')
    .action(async (what: keyof typeof LISTS, { json }: { json?: boolean }) => {
      const rows = await LISTS[what]();
      const titles = Object.keys(rows[0] ?? {});
      process.stdout.write(json
        ? `${JSON.stringify(rows)}\n`
        : `${table([titles, ...rows.map((row) => titles.map((title) => cell(row[title]!)))]).join('\n')}\n`);
    });
}
