/** @file Every reader of foreign files, with small files that it reads. */
import { copyFile, cp, mkdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import sharp from 'sharp';
import type { Sharp } from 'sharp';
import { stringify } from 'yaml';
import { readRun } from '../../src/comparison/run-record.js';
import { readView } from '../../src/runs/view.js';
import { readImage } from '../../src/formats/image.js';
import { readJsonFile } from '../../src/formats/json-file.js';
import { readLora } from '../../src/formats/lora-file.js';
import { openWeights } from '../../src/formats/open-weights.js';
import { packageRoot } from '../../src/formats/package-root.js';
import { openSafetensors, writeSafetensors } from '../../src/formats/safetensors.js';
import { openComponent } from '../../src/formats/sharded.js';
import { MOST_BYTES, readText } from '../../src/formats/whole-file.js';
import { readAll } from '../../src/formats/weights.js';
import type { WeightSource } from '../../src/formats/weights.js';
import { parseYaml } from '../../src/formats/yaml.js';
import { importOnnx } from '../../src/formats/onnx/import-file.js';
import { declaredInputs } from '../../src/formats/onnx/inspect.js';
import { loadPipeline } from '../../src/loading/load.js';
import { loadTokenizer } from '../../src/loading/tokenizer-files.js';
import { loadWordPiece } from '../../src/loading/wordpiece-file.js';
import { lockFolder } from '../../src/runs/lock.js';
import { mergedManifest, readManifest } from '../../src/runs/manifest.js';
import { readSchedulerConfig } from '../../src/schedulers/scheduler-config.js';
import { readCheckpoint } from '../../src/training/checkpoint.js';
import { readConfigFile, resolveConfig } from '../../src/training/config.js';
import { readPairs } from '../../src/training/image-pairs.js';
import { loadDataset } from '../../src/training/pretrain/dataset.js';
import { recipeSchema } from '../../src/training/pretrain/recipe.js';
import { loadPrompts } from '../../src/training/prompts.js';

export interface Target {
  readonly name: string;
  /** Files that are changed, each on its own, by their paths in the target's folder. */
  readonly files: readonly string[];
  /** Makes the folder with all files whole. */
  make(folder: string): Promise<void>;
  /** @param file that which was changed */
  read(folder: string, file: string): Promise<unknown>;
}

const FIXTURES = join(packageRoot, 'tests', 'fixtures');

const all = async (opening: Promise<WeightSource>): Promise<void> => {
  const source = await opening;
  await readAll(source).finally(() => source.close());
};

/** Fixtures that one reader reads alone. */
const fixtures = (name: string, files: readonly string[], read: (path: string) => Promise<unknown>): Target => ({
  name,
  files,
  make: async (folder) => {
    for (const file of files) await copyFile(join(FIXTURES, file), join(folder, file));
  },
  read: (folder, file) => read(join(folder, file)),
});

/** Files with this content. */
const texts = (name: string, contents: Readonly<Record<string, string>>, read: Target['read'], files = Object.keys(contents)): Target => ({
  name,
  files,
  make: async (folder) => {
    for (const [file, content] of Object.entries(contents)) {
      await mkdir(dirname(join(folder, file)), { recursive: true });
      await writeFile(join(folder, file), content);
    }
  },
  read,
});

/** A folder among the fixtures of which some files are changed. */
const tree = (name: string, of: string, files: readonly string[], read: (folder: string) => Promise<unknown>): Target =>
  ({ name, files, make: (folder) => cp(join(FIXTURES, of), folder, { recursive: true }), read });

const KINDS = ['png', 'jpeg', 'webp', 'gif', 'tiff', 'avif'] as const;
const small = (): Sharp => sharp(Buffer.from(Array.from({ length: 16 * 12 * 3 }, (_, i) => (i * 37) % 256)), { raw: { width: 16, height: 12, channels: 3 } });

async function onnx(path: string): Promise<void> {
  const shapes = Object.fromEntries(declaredInputs(path).map(({ name, shape }) =>
    [name, (shape ?? []).map((n, i) => (typeof n === 'number' ? n : i === 0 ? 1 : 32))]));
  importOnnx({ path }, { shapes });
}

async function shards(folder: string): Promise<void> {
  const source = await openSafetensors(join(FIXTURES, 'float8.safetensors'));
  const tensors = [...await readAll(source)];
  await source.close();
  const names = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
  const weightMap: Record<string, string> = {};
  for (const [i, name] of names.entries()) {
    const own = tensors.filter((_, k) => k % 2 === i);
    await writeSafetensors(join(folder, name), own);
    for (const [tensor] of own) weightMap[tensor] = name;
  }
  await writeFile(join(folder, 'model.safetensors.index.json'), JSON.stringify({ metadata: {}, weight_map: weightMap }));
}

const row = (step: number): string => JSON.stringify({
  step, evalReward: 1, heldOutReward: 0.5, heldOutError: 0.1, diversity: 0.5, frechet: 0.1, rewardQueries: 8, denoiserCalls: 9, seconds: step,
});

export const TARGETS: readonly Target[] = [
  fixtures('weights', [
    'float8.safetensors', 'torch_zip2.pt', 'torch_zip5.pt', 'torch_legacy1.pt', 'torch_legacy2.pt', 'torch_legacy4.pt',
    'torch_lightning.ckpt', 'torch_lightning_legacy.ckpt',
  ], (path) => all(openWeights(path))),
  {
    name: 'shards', files: ['model.safetensors.index.json', 'model-00001-of-00002.safetensors'], make: shards,
    read: (folder) => all(openComponent(folder)),
  },
  fixtures('lora', [
    'lora_sd1_kohya.safetensors', 'lora_sd1_diffusers.safetensors', 'lora_sd1_diffusers_old.safetensors',
    'lora_sd1_kohya_text_encoder.safetensors', 'lora_sdxl_kohya.safetensors',
  ], readLora),
  tree('lora-folder', 'lora_sd1_peft', ['adapter_config.json', 'adapter_model.safetensors'], readLora),
  fixtures('onnx', ['onnx_mobilenet_ts11.onnx', 'onnx_resnet_ts09.onnx', 'onnx_resnet_dynamo18.onnx', 'onnx_vit_dynamo18.onnx'], onnx),
  tree('onnx-external', 'onnx_external', ['mobilenet.onnx', 'mobilenet.bin'], (folder) => onnx(join(folder, 'mobilenet.onnx'))),
  {
    name: 'picture',
    files: KINDS,
    make: async (folder) => {
      for (const kind of KINDS) await small()[kind]().toFile(join(folder, kind));
    },
    read: (folder, file) => readImage(join(folder, file)),
  },
  tree('model', 'pipeline_sd1', [
    'model_index.json', 'scheduler/scheduler_config.json', 'unet/config.json', 'vae/config.json', 'text_encoder/config.json',
  ], async (folder) => {
    const { scheduler } = await loadPipeline(folder);
    readSchedulerConfig(scheduler, folder);
  }),
  tree('tokenizer', 'pipeline_sd1/tokenizer', [
    'vocab.json', 'merges.txt', 'tokenizer_config.json', 'special_tokens_map.json', 'tokenizer.json',
  ], async (folder) => (await loadTokenizer(folder)).encode('A cat, and the naïve dogs <|endoftext|>')),
  fixtures('wordpiece', ['wordpiece.txt'], (path) => loadWordPiece(path, 16)),
  texts('prompts', {
    'a.txt': 'a cat\n# note\n\nthe dog\n', 'a.csv': 'prompt,weight\n"a ""cat""",2\nthe dog,0.5\n',
    'a.jsonl': '{"prompt": "a cat", "weight": 2}\n"the dog"\n',
  }, (folder, file) => loadPrompts(join(folder, file))),
  texts('pairs', {
    'a.csv': 'prompt,winner,loser\na cat,a.png,b.png\n', 'a.jsonl': '{"prompt": "a cat", "winner": "a.png", "loser": "b.png"}\n',
    'a.png': '', 'b.png': '',
  }, (folder, file) => readPairs(join(folder, file)), ['a.csv', 'a.jsonl']),
  {
    name: 'dataset',
    files: ['metadata.jsonl'],
    make: async (folder) => {
      await small().png().toFile(join(folder, 'a.png'));
      await writeFile(join(folder, 'metadata.jsonl'), '{"file": "a.png", "captions": ["a cat", "the dog"], "weights": [1, 2]}\n');
    },
    read: (folder) => loadDataset(folder, 8),
  },
  texts('settings', {
    'a.yaml': stringify({ steps: 3, method: { name: 'draft', k: 2 }, lora: { rank: 4, targets: ['to_q'] }, rewards: ['symmetry'] }),
    'a.json': '{"steps": 3, "rewards": ["symmetry:2"], "evaluation": {"sweep": [0, 1]}}',
  }, async (folder, file) => resolveConfig(await readConfigFile(join(folder, file)), [])),
  {
    name: 'recipe',
    files: ['denoiser.yaml', 'vae.yaml', 'quality.yaml'],
    make: (folder) => cp(join(packageRoot, 'models', 'recipes'), folder, { recursive: true }),
    read: async (folder, file) => recipeSchema.safeParse(parseYaml(await readText(join(folder, file), MOST_BYTES.settings), file)),
  },
  {
    name: 'checkpoint',
    files: ['state.json', 'state.safetensors'],
    make: async (folder) => {
      await writeFile(join(folder, 'state.json'), JSON.stringify({ step: 1, round: 1, rewardQueries: 8, denoiserCalls: 9, values: { a: { b: [1] } } }));
      await writeSafetensors(join(folder, 'state.safetensors'), [['lora/x', { dtype: 'float32', shape: [2], data: new Float32Array(2) }]]);
    },
    read: readCheckpoint,
  },
  texts('run', {
    'metrics.jsonl': `${row(0)}\n${row(1)}\n`,
    'summary.json': JSON.stringify({ peakBytes: 1, best: 1, sweep: [{ step: 1, strength: 1, reward: 1, diversity: 0.5, frechet: 0.1 }] }),
  }, (folder) => readRun(folder, 'a', 0)),
  texts('manifest', {
    'manifest.json': JSON.stringify({
      attune: '0.1.0', seed: 0, inputs: { 'model unet': 'a'.repeat(64), node: 'v20.0.0' }, place: { device: 'cpu', threads: '2' },
      changes: [{ time: '2026-11-30', changed: { node: 'v20.0.0 → v22.0.0' } }],
    }),
  }, async (folder) => mergedManifest(await readManifest(folder), { inputs: { node: 'v20.0.0' }, place: { device: 'cpu' } },
    { path: folder, force: true, warn: () => {} })),
  {
    name: 'lock',
    files: ['.lock'],
    // Of a process that has ended.
    make: async (folder) => writeFile(join(folder, '.lock'), `${JSON.stringify({
      host: hostname(), space: await readlink('/proc/self/ns/pid').catch(() => ''), pid: 2 ** 22 + 1, born: '', since: 'then', nonce: 'abc123',
    })}\n`),
    read: async (folder) => {
      const given = await readFile(join(folder, '.lock'));
      // A lock that is taken over is gone.
      const back = (): Promise<void> => writeFile(join(folder, '.lock'), given);
      await lockFolder(folder, () => {}).then((lock) => lock.release()).finally(back);
    },
  },
  texts('log of a run', {
    'events.jsonl': [
      '{"type":"opened","time":1,"version":1,"session":"a","resumed":false,"attune":"0","host":"h","pid":1}', '{"type":"resumed","time":1,"step":-1}',
      `{"type":"step","time":1,"row":${row(1)}}`, `{"type":"evaluation","time":1,"row":${row(1)},"best":1}`,
      '{"type":"image","time":1,"step":1,"strength":1,"index":0,"prompt":"a","seed":1,"file":"samples/step-000001/000.png"}',
      '{"type":"ended","time":1,"how":"guard","reason":"r"}', '',
    ].join('\n'),
  }, (folder) => readView(folder)),
  texts('json', { 'a.json': '{"a": [1, {"b": Infinity}], "c": "\\u00e9"}' }, (folder, file) => readJsonFile(join(folder, file))),
];

