/** @file From a folder of captioned pictures to a model that samples: every network of a recipe, tiny. */
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InferenceSession } from 'onnxruntime-node';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { readImage, writePng } from '../../src/formats/image.js';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { square, sub } from '../../src/graph/ops/arithmetic.js';
import { sum } from '../../src/graph/ops/reduce.js';
import { input } from '../../src/graph/tensor.js';
import type { ClipTextConfig, UNetConfig } from '../../src/models/config.js';
import { loadPipeline } from '../../src/loading/load.js';
import { normal } from '../../src/random/random.js';
import { openRewards, parseReward } from '../../src/rewards/registry.js';
import { rewardModel } from '../../src/rewards/reward-model.js';
import { openScorer } from '../../src/rewards/scorer.js';
import { loadDataset } from '../../src/training/pretrain/dataset.js';
import { denoiser } from '../../src/training/pretrain/denoiser.js';
import { fit } from '../../src/training/pretrain/fit.js';
import type { FitOptions, Trainable } from '../../src/training/pretrain/fit.js';
import { loadPairs } from '../../src/training/pretrain/pairs.js';
import { recipeSchema } from '../../src/training/pretrain/recipe.js';
import { pretrain } from '../../src/training/pretrain/run.js';
import type { PretrainOptions } from '../../src/training/pretrain/run.js';
import { lockFolder } from '../../src/runs/lock.js';
import { overviewOf } from '../../src/runs/overview.js';
import { silent } from '../../src/runs/progress.js';
import { removeRun } from '../../src/runs/remove.js';
import { askToStop } from '../../src/runs/stop.js';
import { attune } from '../cli-process.js';
import { checkGradient } from '../rewards/helpers.js';

const root = await mkdtemp(join(tmpdir(), 'attune-pretrain-'));
afterAll(() => rm(root, { recursive: true, force: true }));
const data = join(root, 'data');
const out = join(root, 'model');

const COLORS = { red: [0.9, 0.1, 0.1], green: [0.1, 0.8, 0.2], blue: [0.1, 0.2, 0.9], black: [0, 0, 0] } as const;

beforeAll(async () => {
  await mkdir(data);
  const lines: string[] = [];
  for (const [name, rgb] of Object.entries(COLORS)) {
    for (const [style, half] of [['flat', 0], ['3d', 0.4]] as const) {
      const pixels = Float32Array.from({ length: 3 * 256 }, (_, k) => (k % 256 < 128 ? rgb[Math.floor(k / 256)]! : half));
      await writePng(join(data, `${name}-${style}.png`), host(pixels, [3, 16, 16]));
      lines.push(JSON.stringify({ file: `${name}-${style}.png`, captions: [`a ${name} square, ${style}`, `a ${name} square`], style }));
    }
  }
  await writeFile(join(data, 'metadata.jsonl'), lines.join('\n'));
});

const training = { steps: 3, batch: 4, lr: 1e-3, warmup: 0 };
const text = {
  vocab_size: 533, max_position_embeddings: 12, hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1,
  num_attention_heads: 2, eos_token_id: 532,
};
const RECIPES = {
  vae: {
    network: 'vae', imageSize: 16, window: 16, training,
    config: {
      block_out_channels: [8, 8], layers_per_block: 1, norm_num_groups: 4,
      down_block_types: ['DownEncoderBlock2D', 'DownEncoderBlock2D'], up_block_types: ['UpDecoderBlock2D', 'UpDecoderBlock2D'],
    },
  },
  denoiser: {
    network: 'denoiser', imageSize: 16, training, textEncoder: text,
    unet: {
      sample_size: 8, block_out_channels: [8, 16], layers_per_block: 1, attention_head_dim: [2, 2], cross_attention_dim: 16,
      norm_num_groups: 4, down_block_types: ['DownBlock2D', 'CrossAttnDownBlock2D'], up_block_types: ['CrossAttnUpBlock2D', 'UpBlock2D'],
    },
    scheduler: {
      _class_name: 'DDIMScheduler', num_train_timesteps: 1000, beta_schedule: 'scaled_linear', beta_start: 0.00085,
      beta_end: 0.012, steps_offset: 1, set_alpha_to_one: false, clip_sample: false, prediction_type: 'epsilon',
    },
  },
  'text-encoder': { network: 'text-encoder', imageSize: 16, config: text, training: { ...training, steps: 200, lr: 1e-2 } },
  clip: {
    network: 'clip', name: 'clip', imageSize: 16, shift: 1, training: { ...training, steps: 150, batch: 8, lr: 3e-3 },
    config: {
      projection_dim: 8, text_config: { ...text, projection_dim: 8 },
      vision_config: {
        image_size: 16, patch_size: 8, hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2, projection_dim: 8,
      },
    },
  },
  'reward-model': {
    network: 'reward-model', name: 'taste', clip: 'clip', worse: [join(root, 'worse')], imageSize: 16, shift: 1, gradientPenalty: 0.01,
    training: { ...training, steps: 250, lr: 5e-3, emaDecay: 0.9 },
  },
  'style-head': { network: 'style-head', imageSize: 16, clip: 'clip', positive: '3d', training: { ...training, steps: 300, lr: 0.5 } },
} as const;

const settings = (name: string): PretrainOptions => ({
  out, work: join(root, 'work', name), seed: 0, resume: false, fromExisting: false, threads: 1, checkpointSeconds: 1e9,
  progress: silent,
});
const carryOut = async (name: keyof typeof RECIPES, change: object = {}, options: Partial<PretrainOptions> = {}): Promise<boolean> =>
  pretrain(recipeSchema.parse({ ...RECIPES[name], ...change }), await loadDataset(data, 16), { ...settings(name), ...options });
const rows = async (name: string): Promise<Record<string, number>[]> =>
  (await readFile(join(root, 'work', name, 'metrics.jsonl'), 'utf8')).trim().split('\n').map((line) => JSON.parse(line) as Record<string, number>);

describe('a recipe for each network', () => {
  test('VAE, then denoiser: a model that loads, with a tokenizer made from the captions', { timeout: 120_000 }, async () => {
    await carryOut('vae');
    await carryOut('denoiser');
    const pipeline = await loadPipeline(out);
    expect((pipeline.denoiser.config as UNetConfig).block_out_channels).toEqual([8, 16]);
    const [{ tokenizer }] = pipeline.textEncoders as [(typeof pipeline.textEncoders)[0]];
    const { ids, truncated } = tokenizer.encode('a red square');
    expect(tokenizer.decode(ids).trim()).toBe('a red square');
    expect([ids.indexOf(tokenizer.eos), truncated]).toEqual([4, null]); // a word is one token
    // Scaled latents have unit variance.
    const { scaling_factor: factor } = pipeline.vae.config;
    expect(factor).toBeGreaterThan(0);
    expect(factor).not.toBe(0.18215);
    for (const row of await rows('denoiser')) expect(row['loss']).toBeGreaterThan(0);
  });

  test('text encoder: captions tell the pictures, and the denoiser goes on from there', { timeout: 120_000 }, async () => {
    await carryOut('text-encoder');
    const losses = (await rows('text-encoder')).map((row) => row['loss']!);
    expect(losses.at(-1)).toBeLessThan(0.5 * losses[0]!); // "a red square" is half flat, half 3d: never zero
    const table = async (): Promise<Float32Array> =>
      (await loadPipeline(out)).weights.get('text_encoder.text_model.embeddings.token_embedding.weight')!.data as Float32Array;
    const [before, options] = [await table(), { work: join(root, 'work', 'velocity') }];
    const scheduler = { ...RECIPES.denoiser.scheduler, prediction_type: 'v_prediction' };
    await carryOut('denoiser', { scheduler, trainedTextEncoder: true, training: { ...training, steps: 1, lr: 1e-9 } }, options);
    expect((await loadPipeline(out)).scheduler['prediction_type']).toBe('v_prediction');
    (await table()).forEach((value, i) => expect(value).toBeCloseTo(before[i]!, 6));
  });

  test('the target and its weight are those of the prediction type', async () => {
    const { textEncoders: [encoder], denoiser: { config } } = await loadPipeline(out);
    const { records } = await loadDataset(data, 16);
    const latents = host(normal({ seed: 5, stream: 'latents', step: 0 }, 0, records.length * 4 * 64), [records.length, 4, 8, 8]);
    const alphasCumprod = Float64Array.of(0.95, 0.6, 0.1, 0.01); // SNR 19, 1.5, 0.11, 0.01
    const rows = Array.from({ length: records.length }, (_, i) => latents.data.slice(i * 256, (i + 1) * 256) as Float32Array);
    for (const [predictionType, weights] of [['v', [5 / 20, 1, 1, 1]], ['epsilon', [5 / 19, 1, 1, 1]]] as const) {
      const process = { kind: 'variance-preserving' as const, alphasCumprod, finalAlphaCumprod: 1, predictionType };
      const { feeds } = denoiser({
        unet: config as UNetConfig, textEncoder: encoder!.config as ClipTextConfig, tokenizer: encoder!.tokenizer, parameters: new Map(), latents, records, process,
        batch: 4, seed: 0, minSnr: 5, promptDropout: 0,
      });
      const { noisy, target, weight } = feeds(0) as Record<string, HostTensor>;
      weights.forEach((w, t) => expect(weight!.data[t]).toBeCloseTo(w, 5)); // one time in each quarter
      for (let i = 0; i < 4; i++) {
        const [a, b] = [Math.sqrt(alphasCumprod[i]!), Math.sqrt(1 - alphasCumprod[i]!)];
        const clean = Array.from({ length: 256 }, (_, k) => {
          const [x, y] = [Number(noisy!.data[i * 256 + k]), Number(target!.data[i * 256 + k])];
          return predictionType === 'v' ? a * x - b * y : (x - b * y) / a;
        });
        const off = rows.map((row) => Math.max(...clean.map((c, k) => Math.abs(c - row[k]!))));
        expect(Math.min(...off)).toBeLessThan(1e-4); // the very picture comes out, which noise in v's place would not give
      }
    }
  });

  test('fewer pictures than a batch are told', async () => {
    await expect(carryOut('denoiser', { training: { ...training, batch: 9 } }, { work: join(root, 'work', 'few') }))
      .rejects.toThrow('8 pictures are fewer than a batch of 9');
  });

  test('contrastive network, and a style head that tells the styles apart', { timeout: 120_000 }, async () => {
    await carryOut('clip');
    expect((await rows('clip')).at(-1)!['loss']).toBeLessThan(0.8 * (await rows('clip'))[0]!['loss']!);
    await carryOut('style-head');
    const right = (await rows('style-head')).map((row) => row['accuracy']!);
    expect(right.slice(-20).reduce((a, b) => a + b, 0) / 20).toBeGreaterThan(0.9);
  });

  test('a reward model that prefers pictures of the data to others, and is a reward', { timeout: 120_000 }, async () => {
    await mkdir(join(root, 'worse'));
    const square = (grey: number): HostTensor => host(new Float32Array(3 * 256).fill(grey), [3, 16, 16]);
    for (const grey of [0.2, 0.5, 0.8]) await writePng(join(root, 'worse', `${grey}.png`), square(grey));
    expect((await loadDataset(join(root, 'worse'), 16, { captioned: false })).records.map((r) => r.captions)).toEqual([[], [], []]);
    await writeFile(join(root, 'worse', 'grid.png'), 'not looked at');
    await carryOut('reward-model');
    const right = (await rows('reward-model')).map((row) => row['accuracy']!);
    expect(right.slice(-10).reduce((a, b) => a + b, 0) / 10).toBeGreaterThan(0.9);
    const reward = await rewardModel('taste', join(out, 'taste'));
    const picture = await readImage(join(data, 'red-3d.png'));
    const both = new Float32Array([...picture.data as Float32Array, ...square(0.4).data as Float32Array]);
    const [own, other] = await openScorer(reward).score(host(both, [2, 3, 16, 16]), ['', '']) as unknown as [number, number];
    expect(own).toBeGreaterThan(other);
    await checkGradient(reward, { ...host(both, [2, 3, 16, 16]), data: both }, ['', '']);
  });

  test('a reward model of pairs tells the better picture of each', { timeout: 120_000 }, async () => {
    const list = join(data, 'pairs.jsonl');
    const lines = Object.keys(COLORS).map((name) => JSON.stringify({ prompt: name, winner: `${name}-3d.png`, loser: `${name}-flat.png` }));
    await writeFile(list, `${lines.join('\n')}\n`);
    const { winners, losers } = await loadPairs(list, 16, () => {});
    await rm(list);
    expect([winners.count, losers.count]).toEqual([4, 4]);
    const recipe = { ...RECIPES['reward-model'], worse: [], name: 'pairs', training: { ...training, steps: 80, lr: 5e-3, emaDecay: 0.9 } };
    await pretrain(recipeSchema.parse(recipe), winners, { ...settings('pairs'), losers });
    const right = (await rows('pairs')).map((row) => row['accuracy']!);
    expect(right.slice(-10).reduce((a, b) => a + b, 0) / 10).toBeGreaterThan(0.9);
    await expect(pretrain(recipeSchema.parse(recipe), winners, settings('none'))).rejects.toThrow('--worse DIR');
  });

  test('a penalty on the gradient by the pixels makes a reward less steep', { timeout: 120_000 }, async () => {
    const slope = async (gradientPenalty: number): Promise<number> => {
      await carryOut('reward-model', { gradientPenalty }, { work: join(root, 'work', `penalty ${gradientPenalty}`) });
      return (await rows(`penalty ${gradientPenalty}`)).at(-1)!['slope']!;
    };
    expect(await slope(100)).toBeLessThan(0.5 * (await slope(0)));
  });

  test('is a run while it trains, stopped or crashed afterwards as it ended, and goes on', async () => {
    const work = join(root, 'work', 'run');
    const again = 'attune pretrain --resume';
    const stopping = new AbortController();
    const states: string[] = [];
    const step = (done: number): void => {
      if (done === 2) stopping.abort();
    };
    const phase = (text: string): void => {
      if (text.startsWith('training from')) states.push(text);
    };
    await carryOut('style-head', {}, { work, again, signal: stopping.signal, progress: { ...silent, step, phase } });
    expect(await overviewOf(work)).toMatchObject({ state: 'stopped', step: 2, checkpoint: 2, settings: { method: { name: 'pretrain style-head' }, model: out, steps: 300, again } });
    const held = await lockFolder(work, () => {});
    await expect(carryOut('style-head', {}, { work })).rejects.toThrow(/in use by/);
    await held.release();
    const watched = { ...silent, step: (done: number) => void (done === 3 && overviewOf(work).then(({ state }) => states.push(state))) };
    await carryOut('style-head', { training: { ...RECIPES['style-head'].training, steps: 9 } }, { work, resume: true, progress: { ...watched, phase } });
    expect(states).toEqual(['training from step 0 to 300', 'training from step 2 to 9', 'running']);
    expect(await overviewOf(work)).toMatchObject({ state: 'finished', step: 9, checkpoint: 9 });
    const bad = { training: { ...RECIPES['style-head'].training, lr: 1e300 } };
    await expect(carryOut('style-head', bad, { work })).rejects.toThrow(/lower --lr/);
    expect(await overviewOf(work)).toMatchObject({ state: 'crashed', reason: expect.stringContaining('lower --lr') as string });
    await removeRun(work);
    await expect(readdir(work)).rejects.toThrow('ENOENT');
  });

  test('asked to stop by its folder: while the graph is compiled nothing is saved or written, in training a checkpoint is', async () => {
    const work = join(root, 'work', 'asked');
    const elsewhere = join(root, 'asked');
    await cp(join(out, 'clip'), join(elsewhere, 'clip'), { recursive: true });
    const told: string[] = [];
    const again = 'attune pretrain --resume';
    const progress = { ...silent, phase: (text: string) => void told.push(text) };
    // While the second session is opened, the training graph's; opening a large one takes as long as this.
    const create = InferenceSession.create as (...args: unknown[]) => Promise<InferenceSession>;
    let opened = 0;
    const spy = vi.spyOn(InferenceSession, 'create').mockImplementation(async (...args: unknown[]) => {
      if ((opened += 1) === 2) {
        await askToStop(work, false);
        const until = performance.now() + 500;
        while (performance.now() < until) { /* the native side holds the thread */ }
      }
      return create.apply(InferenceSession, args);
    });
    const many = { training: { ...RECIPES['style-head'].training, steps: 100_000 } };
    expect(await carryOut('style-head', many, { work, out: elsewhere, again, progress })).toBe(false);
    expect(opened).toBe(2);
    expect(await overviewOf(work)).toMatchObject({ state: 'stopped' });
    expect([told.at(-1), existsSync(join(work, 'latest.json')), existsSync(join(elsewhere, 'style-head'))]).toEqual(['stopped before the first step', false, false]);

    spy.mockRestore();
    const step = (done: number, total: number): void => void (total === 100_000 && done === 2 && askToStop(work, false));
    expect(await carryOut('style-head', many, { work, out: elsewhere, again, resume: true, progress: { ...progress, step } })).toBe(false);
    const { state, step: last, checkpoint } = await overviewOf(work);
    expect([state, checkpoint, told.at(-1)]).toEqual(['stopped', last, `stopped at step ${last}; go on with: ${again}`]);
    expect(existsSync(join(elsewhere, 'style-head'))).toBe(true);
  });

  test('a reward model needs worse pictures, and one output', async () => {
    await expect(carryOut('reward-model', { worse: [join(root, 'nowhere')] })).rejects.toThrow(`no folder ${join(root, 'nowhere')}`);
    await mkdir(join(root, 'empty'));
    await expect(loadDataset(join(root, 'worse'), 16)).rejects.toThrow('has no caption');
    await expect(carryOut('reward-model', { worse: [join(root, 'empty')] })).rejects.toThrow('has no images');
    const file = join(out, 'taste', 'config.json');
    await writeFile(file, (await readFile(file, 'utf8')).replace('"projection_dim": 1', '"projection_dim": 8'));
    await expect(openRewards([parseReward(`reward-model?folder=${join(out, 'taste')}`)])).rejects.toThrow(/config\.json|visual_projection/);
  });

  test('the decoder alone leaves the encoder as it is', { timeout: 120_000 }, async () => {
    const before = (await loadPipeline(out)).weights;
    await carryOut('vae', { decoderOnly: true }, { fromExisting: true, work: join(root, 'work', 'decoder') });
    const after = (await loadPipeline(out)).weights;
    const changed = [...before].filter(([name, t]) => !Buffer.from(after.get(name)!.data.buffer).equals(Buffer.from(t.data.buffer))).map(([name]) => name);
    expect(changed.length).toBeGreaterThan(10);
    expect(changed.filter((name) => !/^vae\.(decoder|post_quant_conv)\./.test(name))).toEqual([]);
  });

  test('a text encoder that does not fit the captions is refused with what would', async () => {
    const fresh = { out: join(root, 'other') };
    const textConfig = { text_config: { ...RECIPES.clip.config.text_config, vocab_size: 3000 } };
    await expect(carryOut('clip', { config: { ...RECIPES.clip.config, ...textConfig } }, fresh))
      .rejects.toThrow(/the captions make a vocabulary of \d+ tokens, not 3000.*\n?.*vocab_size: \d+/s);
  });
});

describe('the loop', () => {
  const weight = input('weight', [64]);
  const target = input('target', [64]);
  const net = (): Trainable => ({
    parameters: new Map([['weight', host(normal({ seed: 1, stream: 'w', step: 0 }, 0, 64), [64])]]),
    symbols: new Map([['weight', weight]]),
    loss: sum(square(sub(weight, target))),
    metrics: {},
    feeds: (step) => ({ target: host(normal({ seed: 2, stream: 't', step }, 0, 64), [64]) }),
  });
  const options = (folder: string): FitOptions => ({
    steps: 7, lr: 0.1, schedule: 'cosine', warmup: 2, weightDecay: 0.01, clip: 1, emaDecay: 0.9, threads: 1,
    folder: join(root, folder), resume: true, checkpointSeconds: 1e9, progress: silent,
  });

  test('goes on from a checkpoint to the same bits', async () => {
    const whole = await fit(net(), options('whole'));
    const stopping = new AbortController();
    const progress = { ...silent, step: (done: number) => done === 3 && stopping.abort() };
    await expect(fit(net(), { ...options('parts'), progress, signal: stopping.signal })).rejects.toThrow('aborted');
    expect(await readdir(join(root, 'parts'))).toContain('state-0000003.safetensors');
    const resumed = await fit(net(), options('parts'));
    expect(resumed.step).toBe(7);
    expect(resumed.average.get('weight')!.data).toEqual(whole.average.get('weight')!.data);
    const lines = async (folder: string) => (await readFile(join(root, folder, 'metrics.jsonl'), 'utf8')).trim().split('\n')
      .map((line) => ({ ...(JSON.parse(line) as object), seconds: 0 }));
    expect(await lines('parts')).toEqual(await lines('whole'));
  });

  test('a damaged newest checkpoint is passed over for the one before, to the same bits', async () => {
    const whole = await fit(net(), options('undamaged'));
    const stopping = new AbortController();
    const progress = { ...silent, step: (done: number) => done === 5 && stopping.abort() };
    await expect(fit(net(), { ...options('damaged'), progress, checkpointSeconds: -1, signal: stopping.signal })).rejects.toThrow('aborted');
    const folder = join(root, 'damaged');
    const newest = join(folder, 'state-0000005.safetensors');
    const bytes = await readFile(newest);
    bytes[bytes.length - 1]! ^= 1;
    await writeFile(newest, bytes);
    const told: string[] = [];
    const warn = (text: string): void => void told.push(text);
    const resumed = await fit(net(), { ...options('damaged'), progress: { ...silent, warn } });
    expect(told).toEqual([expect.stringMatching(/^checkpoint state-0000005\.safetensors is passed over: .*checksum is another/)]);
    expect(resumed.average.get('weight')!.data).toEqual(whole.average.get('weight')!.data);
    const states = (await readdir(folder)).filter((name) => name.startsWith('state-'));
    expect(states.toSorted()).toEqual(['state-0000004.safetensors', 'state-0000005.safetensors.damaged', 'state-0000007.safetensors']);
    await writeFile(join(folder, 'latest.json'), 'no json');
    await expect(fit(net(), options('damaged'))).rejects.toMatchObject({ name: 'FormatError', message: expect.stringMatching(/latest\.json: names no checkpoint/) as string });
  });

  test('a loss that is not finite ends it, and the last checkpoint stays', async () => {
    await fit(net(), { ...options('broken'), steps: 2 });
    const broken = { ...net(), feeds: () => ({ target: host(new Float32Array(64).fill(NaN), [64]) }) };
    await expect(fit(broken, options('broken'))).rejects.toThrow(/the loss became NaN at step 2/);
    expect((await fit(net(), { ...options('broken'), steps: 2 })).step).toBe(2);
  });
});

describe('attune pretrain', () => {
  test.each<[string, string[], string | null, RegExp]>([
    ['no recipe', ['--recipe', join(root, 'none.yaml')], null, /no recipe at .*none\.yaml/],
    ['a recipe with a wrong field', [], 'network: vae\nwindow: -1', /recipe\.yaml: /],
    ['a recipe that is not YAML', [], 'network: [', /recipe\.yaml/],
    ['an unknown network', [], 'network: gan', /recipe\.yaml: network/],
    ['no pictures', ['--data', root], JSON.stringify(RECIPES.vae), /neither metadata\.jsonl nor images/],
  ])('%s is a mistake of the user\'s', async (_, flags, recipe, message) => {
    const file = join(root, 'recipe.yaml');
    if (recipe !== null) await writeFile(file, recipe);
    const given = flags.includes('--recipe') ? flags : ['--recipe', file, ...flags];
    const all = given.includes('--data') ? given : [...given, '--data', data];
    const { code, stderr } = await attune(['pretrain', ...all, '--out', join(root, 'unwritten')]).finished;
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/\n {4}at /);
    expect(code).toBe(2);
  });
});
