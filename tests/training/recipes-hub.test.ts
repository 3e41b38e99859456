/**
 * @file Every recipe of a paper against a hub on this machine, whose models and rewards are tiny and random in the published
 * layout: all names resolve, all shapes fit, and an update is taken, with fewer steps and images than the recipe asks for. Updates of
 * the slower methods take a minute of processor time together: ATTUNE_RECIPES=all has them too.
 */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { loadPipeline, familyOf } from '../../src/loading/load.js';
import { savePipeline } from '../../src/loading/save.js';
import { input } from '../../src/graph/tensor.js';
import { counted } from '../../src/methods/counted.js';
import { updatesOf } from '../../src/methods/work.js';
import { componentSchema, componentShapes } from '../../src/models/components.js';
import type { ComponentClass } from '../../src/models/components.js';
import { parseConfig } from '../../src/models/config.js';
import { sdxl } from '../../src/models/families/sdxl.js';
import { initialWeights } from '../../src/models/init.js';
import type { Pipeline } from '../../src/models/pipeline.js';
import type { PublishedFiles } from '../../src/rewards/published-files.js';
import { silent } from '../../src/runs/progress.js';
import { applyUpdate } from '../../src/training/apply-update.js';
import { readConfigFile, resolveConfig } from '../../src/training/config.js';
import { copyOf, values } from '../../src/training/parameters.js';
import { drawPrompts } from '../../src/training/prompts.js';
import { recipeNames, recipePath } from '../../src/training/recipes.js';
import { openSession } from '../../src/training/session.js';
import { freshState } from '../../src/training/train-state.js';
import { tiny } from '../cli/helpers.js';
import { openFakeHub } from '../models/fake-hub.js';
import type { FakeHub } from '../models/fake-hub.js';
import { publishedRepositories } from '../rewards/published-hub.js';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });
// The digests are those of the published files.
vi.mock('../../src/rewards/published-files.js', async (original) => {
  const { PUBLISHED } = await original<{ PUBLISHED: Record<string, PublishedFiles> }>();
  return { PUBLISHED: Object.fromEntries(Object.entries(PUBLISHED).map(([key, files]) => [key, { ...files, sha256: {} }])) };
});

const WIDTH = 16;
const TEXT = { hidden_size: WIDTH, intermediate_size: 32, num_hidden_layers: 2, num_attention_heads: 2, projection_dim: WIDTH, vocab_size: 566, max_position_embeddings: 77, eos_token_id: 2 };
const UNET = { block_out_channels: [8, 32], layers_per_block: 1, norm_num_groups: 4, sample_size: 16 };
const VAE = {
  block_out_channels: [8, 16], down_block_types: ['DownEncoderBlock2D', 'DownEncoderBlock2D'], up_block_types: ['UpDecoderBlock2D', 'UpDecoderBlock2D'],
  layers_per_block: 1, norm_num_groups: 2, sample_size: 32,
};
const SD1 = { ...UNET, down_block_types: ['CrossAttnDownBlock2D', 'DownBlock2D'], up_block_types: ['UpBlock2D', 'CrossAttnUpBlock2D'], cross_attention_dim: WIDTH, attention_head_dim: 2 };
const XL = {
  ...UNET, down_block_types: ['DownBlock2D', 'CrossAttnDownBlock2D'], up_block_types: ['CrossAttnUpBlock2D', 'UpBlock2D'], cross_attention_dim: 2 * WIDTH,
  attention_head_dim: [1, 2], use_linear_projection: true, transformer_layers_per_block: [1, 1],
  addition_embed_type: 'text_time', addition_time_embed_dim: 8, projection_class_embeddings_input_dim: WIDTH + 6 * 8,
};

/** SD 1.x or SDXL as small as its kinds of layers allow. @param base whose tokenizer, VAE and scheduler it takes */
function small(base: Pipeline, xl: boolean): Pipeline {
  const part = (kind: ComponentClass, config: object, path: string) => {
    const parsed = parseConfig(componentSchema(kind), config, path);
    return { kind, config: parsed, name: path, weights: [...initialWeights(componentShapes(kind, parsed as never), 7)].map(([key, t]) => [`${path}.${key}`, t] as const) };
  };
  const encoders = [part('CLIPTextModel', { ...TEXT, hidden_act: 'quick_gelu' }, 'text_encoder'), ...(xl ? [part('CLIPTextModelWithProjection', { ...TEXT, hidden_act: 'gelu' }, 'text_encoder_2')] : [])];
  const denoiser = part('UNet2DConditionModel', xl ? XL : SD1, 'unet');
  const vae = part('AutoencoderKL', VAE, 'vae');
  return {
    ...base, ...(xl && { family: sdxl, zeroEmptyNegative: true }), denoiser, vae,
    textEncoders: encoders.map(({ kind, config, name }) => ({ ...base.textEncoders[0]!, kind, config, name })),
    weights: new Map([...encoders, denoiser, vae].flatMap((p) => p.weights)),
  } as unknown as Pipeline;
}

async function filesOf(folder: string): Promise<Map<string, Buffer>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries.filter((e) => e.isFile()).map((e) => join(e.parentPath, e.name));
  return new Map(await Promise.all(paths.map(async (path) => [relative(folder, path), await readFile(path)] as const)));
}

let hub: FakeHub;
beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'attune-small-'));
  const base = await loadPipeline(tiny);
  const made = async (xl: boolean): Promise<Map<string, Buffer>> => {
    await savePipeline(join(folder, String(xl)), small(base, xl), 'float32');
    return filesOf(join(folder, String(xl)));
  };
  const [sd1, xl] = [await made(false), await made(true)];
  await rm(folder, { recursive: true });
  hub = await openFakeHub(new Map([
    ...await publishedRepositories(),
    ['stable-diffusion-v1-5/stable-diffusion-v1-5', sd1], ['CompVis/stable-diffusion-v1-4', sd1], ['stabilityai/stable-diffusion-xl-base-1.0', xl],
  ]));
  await hub.reset();
});
afterAll(() => hub.close());

/** What is made smaller: numbers of images and steps, and no measures. */
const SMALLER = {
  batch: 2, samplingSteps: 2, size: 16, threads: 1, warmup: 0,
  evaluation: { heldOut: null, features: null, prompts: 1, images: 2, final: { prompts: 0 } },
};
const OPTIONS: Readonly<Record<string, object>> = { ddpo: { rollouts: 2, updates: 2 }, 'sharpen-sft': { gridSteps: 3 }, 'sharpen-rlhf': { gridSteps: 3 } };

/** Both models, a LoRA and all weights, black boxes and gradients. */
const UPDATED = ['ddpo-aesthetic', 'draft-hpsv2', 'refl-image-reward', 'sharpen-sft'];
const opened = (name: string): boolean => process.env['ATTUNE_RECIPES'] !== 'all' && !UPDATED.includes(name);

test.each(await recipeNames())('%s', async (name) => {
  const recipe = await readConfigFile(await recipePath(name));
  const method = recipe['method'] as { name: string };
  const config = resolveConfig({ ...recipe, ...SMALLER, method: { ...method, ...OPTIONS[method.name] } }, [], await familyOf(recipe['model'] as string));
  const session = await openSession(config, silent);
  expect(session.objective.trained.name).toBe((recipe['rewards'] as string[])[0]);
  expect(session.task.adapter === null).toBe(recipe['train'] === 'full');
  if (opened(name)) {
    const reward = session.objective.trained;
    if (reward.differentiable) expect(reward.trace(input('images', [2, ...session.task.imageShape])).shape).toEqual([2]);
    expect(await session.release()).toBeUndefined();
    return;
  }
  const prompts = drawPrompts(session.prompts, config.seed, 0, config.batch);
  await session.task.prepare(prompts);
  const { task, counts } = counted(session.task);
  const rule = await session.method.create(task, session.methodOptions);
  const parts = { config: session.config, task: session.task, counts, rule, objective: session.objective };
  const before = copyOf(task.parameters);
  const state = freshState(parts);
  let row = null;
  for await (const update of updatesOf(session.task, rule, { round: 0, prompts })) {
    row = applyUpdate(parts, state, update);
    break;
  }
  const moved = [...task.parameters].some(([key, t]) => values(t).some((v, i) => v !== values(before.get(key)!)[i]));
  await rule.release();
  await session.release();
  expect(row).toMatchObject({ step: 1, loss: expect.any(Number), gradNorm: expect.any(Number) });
  expect([row!.loss, row!.gradNorm, row!.reward].every(Number.isFinite)).toBe(true);
  expect(row!.gradNorm).toBeGreaterThan(0);
  expect(moved).toBe(true);
});
