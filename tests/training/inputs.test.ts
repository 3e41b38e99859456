/** @file A run goes on from anywhere, but only with what it was begun with, unless that is forced. */
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readLora } from '../../src/formats/lora-file.js';
import { openSafetensors, writeSafetensors } from '../../src/formats/safetensors.js';
import { readAll } from '../../src/formats/weights.js';
import { sd1 } from '../../src/models/families/sd.js';
import { openRewards, parseReward } from '../../src/rewards/registry.js';
import { processorKind } from '../../src/machine/processor.js';
import { resolveConfig } from '../../src/training/config.js';
import { hashPath } from '../../src/training/digest.js';
import { inputsOf } from '../../src/training/inputs.js';
import type { Manifest } from '../../src/runs/manifest.js';
import { absolutePaths, barePaths } from '../../src/training/paths.js';
import { silent } from '../../src/runs/progress.js';
import { runTraining } from '../../src/training/run.js';
import { storedConfig } from '../../src/training/stored-config.js';
import type { Session } from '../../src/training/session.js';
import { scratch, tiny } from '../cli/helpers.js';

const root = scratch();
const before = process.cwd();
process.chdir(root);
afterAll(() => process.chdir(before));

cpSync(tiny, 'model', { recursive: true });
writeFileSync('p.txt', 'a cat\n');
const config = resolveConfig({
  model: 'model', prompts: 'p.txt', rewards: ['symmetry'], method: { name: 'draft' }, steps: 2, batch: 2, samplingSteps: 2, size: 32,
  threads: 1, guidance: 1, checkpointEvery: 1, lora: { rank: 1, targets: ['to_q'] },
  evaluation: { every: 0, prompts: 1, images: 2, heldOut: null, features: null, sweep: [1], final: { prompts: 1, images: 2 } },
}, []);
const manifest = (run: string): Manifest => JSON.parse(readFileSync(join(root, run, 'manifest.json'), 'utf8')) as Manifest;
const last = (run: string): Buffer => readFileSync(join(root, run, 'checkpoints', 'step-000002', 'state.safetensors'));

describe('a run', { timeout: 600_000 }, () => {
  beforeAll(async () => {
    await runTraining(config, 'run');
    for (const copy of ['elsewhere', 'changed']) {
      cpSync('run', copy, { recursive: true });
      rmSync(join(copy, 'checkpoints', 'step-000002'), { recursive: true }); // as if killed after the first step
    }
  }, 600_000);

  test('goes on from another folder, to the same bits', async () => {
    process.chdir(tmpdir());
    try {
      const path = join(root, 'elsewhere');
      expect(await runTraining(await storedConfig(path), path, { resume: true })).toMatchObject({ steps: 2 });
      expect(last('elsewhere').equals(last('run'))).toBe(true);
      expect(manifest('elsewhere')).toEqual(manifest('run'));
    } finally {
      process.chdir(root);
    }
  });

  test('is refused with what has changed, and forced writes it down, in the LoRA file too', async () => {
    const { inputs } = manifest('run');
    expect(Object.keys(inputs!)).toEqual(expect.arrayContaining([
      'attune', 'node', 'onnxruntime', 'processor', 'model unet', 'model vae', 'model text_encoder', 'model configuration', 'prompts p.txt',
    ]));
    writeFileSync('p.txt', 'a dog\n');
    const file = join('model', 'unet', 'diffusion_pytorch_model.safetensors');
    const source = await openSafetensors(file);
    const weights = await readAll(source);
    await source.close();
    (weights.get('conv_in.bias')!.data as Float32Array)[0]! += 0.25;
    await writeSafetensors(file, weights, { format: 'pt' });
    const stored = await storedConfig('changed');
    const again = runTraining(stored, 'changed', { resume: true });
    await expect(again).rejects.toMatchObject({ name: 'ConfigError', message: expect.stringMatching(/changed since: model unet \w{12} → \w{12}; prompts p\.txt \w{12} → \w{12}\. /) as string });
    expect(existsSync(join('changed', '.lock'))).toBe(false);
    expect(manifest('changed')).toEqual(manifest('run'));
    const told: string[] = [];
    const progress = { ...silent, warn: (text: string) => told.push(text) };
    const summary = await runTraining(stored, 'changed', { resume: true, force: true, progress });
    expect(told.join()).toMatch(/goes on with what has changed, as forced: model unet/);
    const { changes } = manifest('changed');
    expect(Object.keys(changes![0]!.changed)).toEqual(['model unet', 'prompts p.txt']);
    const { metadata } = (await readLora(summary!.lora[0]!)).lora;
    expect((JSON.parse(metadata['attune.manifest']!) as Manifest).changes).toEqual(changes);
    // Who gets the file need not learn where things lie here.
    expect(JSON.stringify(metadata)).not.toContain(root);
  });
});

test('every setting that is a path becomes absolute, and nothing else', () => {
  mkdirSync('like');
  writeFileSync('cat.pt', '');
  const settings = {
    model: 'model', like: 'like', prompts: 'p.txt', method: { name: 'dpo', pairs: 'pairs.csv', beta: 10 },
    rewards: ['clip-score:0.5?folder=clip&tokenizer=tok en', 'http?url=http://x/y', 'onnx?output=file=a&pixels=clip&file=a', 'mine'],
    evaluation: { promptSet: 'held.txt', features: 'clip', heldOut: 'reward-model?folder=../judge', final: { promptSet: 'end.txt' } },
    embeddings: ['cat.pt', 'cat.pt:<cat>', 'org/word:<w>'],
  };
  const given = resolveConfig(settings, []);
  const at = (path: string): string => join(root, path);
  const absolute = absolutePaths(given);
  expect(absolute).toEqual({
    ...given, model: at('model'), like: at('like'), prompts: at('p.txt'), method: { name: 'dpo', pairs: at('pairs.csv'), beta: 10 },
    rewards: [
      `clip-score:0.5?folder=${at('clip')}&tokenizer=${at('tok en')}`, 'http?url=http://x/y',
      `onnx?output=file=a&pixels=clip&file=${at('a')}`, 'mine',
    ],
    evaluation: {
      ...given.evaluation, promptSet: at('held.txt'), features: at('clip'), heldOut: `reward-model?folder=${at('../judge')}`,
      final: { ...given.evaluation.final, promptSet: at('end.txt') },
    },
    embeddings: [at('cat.pt'), `${at('cat.pt')}:<cat>`, 'org/word:<w>'],
  });
  expect(absolutePaths(absolute)).toEqual(absolute);
  expect(JSON.stringify(barePaths(absolute))).not.toContain(root);
  expect(absolutePaths(resolveConfig({ method: { name: 'refl', pretrain: { pictures: 'pics' } } }, [])).method)
    .toEqual({ name: 'refl', pretrain: { pictures: at('pics') } });
  // Bundled names and hub ids are no paths, whatever lies in the folder.
  mkdirSync('emoji');
  const others = resolveConfig({ model: 'emoji', prompts: 'people', evaluation: { features: null } }, []);
  expect(absolutePaths(others)).toEqual(others);
  const hub = resolveConfig({ model: 'org/name', rewards: ['symmetry'] }, []);
  expect(absolutePaths(hub)).toEqual(hub);
});

/** Just what the inputs are read from. */
const sessionOf = async (pairs: string, rewards: readonly string[], precision = 'float32'): Promise<Session> => ({
  config: absolutePaths(resolveConfig({ model: tiny, precision, rewards, method: { name: 'dpo', pairs } }, [])),
  pipeline: { family: sd1, denoiser: {}, bundled: null, weights: new Map(), textEncoders: [] }, objective: { judged: await openRewards([parseReward('symmetry')]) }, heldOut: null,
  prompts: { name: 'x', prompts: ['a'], weights: [1] }, evaluator: { selection: { list: 'y', prompts: ['b'] } }, reported: [], task: { imageShape: [3, 8, 8] },
}) as unknown as Session;

test('files of rewards and data, and the machine, are among what is compared', async () => {
  cpSync(tiny, 'tok', { recursive: true });
  writeFileSync('pairs.csv', 'prompt,winner,loser\na,w.png,l.png\n');
  for (const name of ['w.png', 'l.png']) writeFileSync(name, name);
  const session = (precision = 'float32'): Promise<Session> => sessionOf('pairs.csv', ['reward-model?folder=tok'], precision);
  const first = await inputsOf(await session());
  expect(first).toMatchObject({ processor: await processorKind(), node: process.version, 'reward reward-model: tok': await hashPath('tok') });
  expect(first).not.toHaveProperty('precision'); // nor has it what runs of before were begun with
  expect(await inputsOf(await session('mixed'))).toEqual({ ...first, precision: 'mixed' });
  writeFileSync('l.png', 'another');
  writeFileSync(join('tok', 'new.txt'), '');
  const second = await inputsOf(await session());
  const changed = Object.keys(first).filter((name) => first[name] !== second[name]);
  expect(changed.toSorted()).toEqual(['data pairs.csv', 'reward reward-model: tok']);
});

test('pictures of a list are among what is compared, whatever the list\'s format', async () => {
  const row = { prompt: 'a', winner: 'w.png', loser: 'l.png' };
  const lists = {
    'pairs.csv': 'prompt,winner,loser\na,w.png,l.png\n', 'pairs.tsv': 'prompt\twinner\tloser\na\tw.png\tl.png\n',
    'pairs.jsonl': `${JSON.stringify(row)}\n`, 'pairs.json': JSON.stringify([row]),
  };
  for (const [name, text] of Object.entries(lists)) writeFileSync(name, text);
  const digests = async (list: string, loser: string): Promise<string | undefined> => {
    for (const [name, text] of [['w.png', 'w'], ['l.png', loser]] as const) writeFileSync(name, text);
    return (await inputsOf(await sessionOf(list, ['symmetry'])))[`data ${list}`];
  };
  for (const list of Object.keys(lists)) {
    const [before, after] = [await digests(list, 'l'), await digests(list, 'another')];
    expect(before).toMatch(/^[0-9a-f]{64}$/);
    expect([list, after]).not.toEqual([list, before]);
  }
});
