import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { mergeCommand } from '../../src/cli/lora/merge.js';
import { sampleCommand } from '../../src/cli/sample.js';
import { imageSize, readImage } from '../../src/formats/image.js';
import { attune } from '../cli-process.js';
import { fixtures, pngText, run, scratch, tiny } from './helpers.js';

const folder = scratch();
const embedding = join(fixtures, 'embedding_diffusers.bin');
let made = 0;

interface Result {
  images: { file: string; prompt: string; seed: number }[];
  grid: string;
  steps: number;
  guidance: number;
  width: number;
}

/** Samples small images of the tiny pipeline into a new folder. */
async function sample(...args: string[]): Promise<Result & { stderr: string }> {
  const out = join(folder, String(made++));
  const { stdout, stderr } = await run(sampleCommand(),
    '--model', tiny, '--size', '64', '--sampling-steps', '2', '--threads', '1', '--out', out, '--json', '--quiet',
    ...args);
  return { ...(JSON.parse(stdout) as Result), stderr };
}

const pixels = (file: string): Promise<Float32Array> => readImage(file).then((image) => image.data as Float32Array);

/** Largest difference of two images in steps of 1/255. */
async function distance(a: { file: string }, b: { file: string }): Promise<number> {
  const [x, y] = await Promise.all([pixels(a.file), pixels(b.file)]);
  expect(x.length).toBe(y.length);
  return x.reduce((worst, v, i) => Math.max(worst, Math.abs(v - y[i]!) * 255), 0);
}

/** Rounding to 8 bits may turn a difference in the last place of float32 into a step. */
const SAME = 1.01;

test('images are files that tell how they were made, and a sheet', async () => {
  const { images, grid, width } = await sample('--prompt', 'a cat', '--prompt', 'two, dogs', '--count', '2',
    '--seed', '7', '--negative', 'blur');
  expect(images.map(({ file, prompt, seed }) => [file.split('/').at(-1), prompt, seed])).toEqual([
    ['00000.png', 'a cat', 7], ['00001.png', 'a cat', 8], ['00002.png', 'two, dogs', 9], ['00003.png', 'two, dogs', 10],
  ]);
  expect(imageSize(await readImage(images[3]!.file))).toEqual({ width: 64, height: 64 });
  expect(width).toBe(64);
  const png = await readFile(images[3]!.file, 'latin1');
  expect(png).toContain('tEXtparameters\0two, dogs\nNegative prompt: blur\n'
    + 'Steps: 2, Sampler: DDIM, CFG scale: 2, Seed: 10, Size: 64x64, Model: pipeline_sd1,');
  const sheet = imageSize(await readImage(grid));
  expect(sheet.width).toBeGreaterThan(2 * 128); // two columns, enlarged
  expect(sheet.width).toBeLessThan(3 * 128);
});

test('pictures tell everything that decided them, without the folders of their maker', async () => {
  const vae = join(tiny, 'vae');
  const { images, ...told } = await sample('--prompt', 'a cat', '--vae', vae, '--clip-skip', '1', '--embedding', `${embedding}:toy`,
    '--sampler', 'dpm++2m', '--sigmas', 'karras', '--spacing', 'trailing', '--lora', join(fixtures, 'lora_sd1_kohya.safetensors:0.5'));
  expect(told).toMatchObject({
    vae, clipSkip: 1, embeddings: [`${embedding}:toy`], sigmas: 'karras', spacing: 'trailing', sampler: 'dpm++2m',
  });
  const png = await readFile(images[0]!.file);
  expect(pngText(png, 'parameters')).toContain('Model: pipeline_sd1, VAE: vae, Clip skip: 2, Schedule type: Karras, Version: attune');
  expect(JSON.parse(pngText(png, 'attune')!)).toMatchObject({
    model: 'pipeline_sd1', vae: 'vae', clipSkip: 1, embeddings: [`${embedding.split('/').at(-1)}:toy`], sigmas: 'karras',
    spacing: 'trailing', sampler: 'dpm++2m', steps: 2, guidance: 2, width: 64, height: 64, prompt: 'a cat', seed: 0,
    loras: [{ path: 'lora_sd1_kohya.safetensors', strength: 0.5 }],
  });
  expect(png.toString('latin1')).not.toContain(tiny);
});

test.each([
  [['--size', '0'], /"0" is no size/],
  [['--size', '64x0'], /"64x0" is no size/],
  [['--guidance', '-1'], /"-1" is below 0/],
  [['--eta', '2'], /--eta: is 2, and must be at most 1/],
  [['--sampler', 'ddim', '--sigmas', 'karras'], /--sigmas is nothing to the sampler ddim/],
  [['--eta', '0.5', '--sigmas', 'karras'], /is nothing to the sampler/],
])('%j is refused before the model is loaded', async (args, message) => {
  const given = ['--model', '/no/model', '--prompt', 'a cat', '--out', join(folder, 'never'), ...args];
  await expect(run(sampleCommand(), ...given)).rejects.toThrow(message);
});

test('the same command makes the same files; every image depends on its own seed alone, but for rounding', async () => {
  const args = ['--prompt', 'a cat', '--count', '3', '--sampler', 'ddpm']; // noise at every step
  const [first, again, single, one] = [
    await sample(...args, '--batch', '2'), await sample(...args, '--batch', '2'),
    await sample(...args, '--batch', '1'), await sample('--prompt', 'a cat', '--sampler', 'ddpm', '--seed', '2'),
  ];
  for (const [i, image] of first.images.entries()) {
    expect(await readFile(image.file)).toEqual(await readFile(again.images[i]!.file));
    expect(await distance(image, single.images[i]!)).toBeLessThan(SAME);
  }
  expect(await readFile(first.grid)).toEqual(await readFile(again.grid));
  const threads = await sample(...args, '--batch', '2', '--threads', '2');
  for (const [i, image] of first.images.entries()) expect(await distance(image, threads.images[i]!)).toBeLessThan(SAME);
  expect(await distance(first.images[2]!, one.images[0]!)).toBeLessThan(SAME);
  expect(await distance(first.images[0]!, first.images[1]!)).toBeGreaterThan(20);
});

test('a single file makes the images of the folder it is like', async () => {
  const file = join(fixtures, 'single_file_sd1.safetensors');
  const [whole, single] = [
    await sample('--prompt', 'a cat'), await sample('--prompt', 'a cat', '--model', file, '--like', tiny),
  ];
  expect(await readFile(single.images[0]!.file, 'latin1')).toContain('Model: single_file_sd1');
  expect(await distance(whole.images[0]!, single.images[0]!)).toBe(0);
});

test('guidance and the negative prompt do what they say', async () => {
  const plain = await sample('--prompt', 'a cat', '--guidance', '1');
  const both = await sample('--prompt', 'a cat', '--negative', 'a cat', '--guidance', '9');
  expect(await distance(plain.images[0]!, both.images[0]!)).toBeLessThan(SAME); // prompt and negative cancel out
  const none = await sample('--prompt', '', '--guidance', '1');
  const zero = await sample('--prompt', 'a cat', '--guidance', '0'); // none, with the prompt
  expect(await distance(plain.images[0]!, zero.images[0]!)).toBe(0);
  expect(await distance(plain.images[0]!, none.images[0]!)).toBeGreaterThan(SAME);
});

test('LoRAs change images by their strength, and as when merged into a model', async () => {
  const lora = join(fixtures, 'lora_sd1_kohya.safetensors');
  const text = join(fixtures, 'lora_sd1_kohya_text_encoder.safetensors');
  const cat = ['--prompt', 'a cat'];
  const [base, off, half, back, two] = [
    await sample(...cat), await sample(...cat, '--lora', `${lora}:0`), await sample(...cat, '--lora', `${lora}:0.5`),
    await sample(...cat, '--lora', `${lora}:-1.5`), await sample(...cat, '--lora', `${lora}:0.5`, '--lora', text),
  ];
  expect(await distance(base.images[0]!, off.images[0]!)).toBe(0);
  for (const [a, b] of [[base, half], [base, back], [half, back], [half, two]] as const) {
    expect(await distance(a.images[0]!, b.images[0]!)).toBeGreaterThan(5);
  }
  expect(await readFile(two.images[0]!.file, 'latin1'))
    .toContain('a cat <lora:lora_sd1_kohya:0.5> <lora:lora_sd1_kohya_text_encoder:1>');
  const model = join(folder, 'merged');
  await run(mergeCommand(), '--model', tiny, '--lora', `${lora}:0.5`, '--lora', text, '--out', model,
    '--dtype', 'float32', '--quiet');
  const merged = await sample(...cat, '--model', model);
  expect(await distance(two.images[0]!, merged.images[0]!)).toBeLessThan(SAME);
});

test('a prompt that is too long is cut, and the warning shows what', async () => {
  const { stderr } = await sample('--prompt', `${'cat '.repeat(80)}zebra`);
  expect(stderr).toMatch(/warning: "cat cat.*longer than the model's 75 tokens; this is cut off: "cat cat.*zebra/);
});

test('a number of images that no list holds is refused before anything is loaded', async () => {
  await expect(sample('--prompt', 'x', '--count', '1000000000')).rejects.toThrow(/--count 1000000000 of 1 prompt.*100000 images/);
});

test('prompts come from a file', async () => {
  const file = join(folder, 'prompts.csv');
  await writeFile(file, 'prompt,weight\n"red, round",1\nblue,2\n');
  const { images } = await sample('--prompts', file);
  expect(images.map(({ prompt }) => prompt)).toEqual(['red, round', 'blue']);
});

test.each([
  ['no prompt', [], 'UsageError', /no prompt; give --prompt/],
  ['an unknown list', ['--prompts', 'animal'], 'ConfigError', /Did you mean animals/],
  ['both kinds of prompts', ['--prompts', 'animals', '--prompt', 'x'], 'CommanderError', /cannot be used with/],
  ['a size between', ['--prompt', 'x', '--size', '60x64'], 'UsageError', /60 × 64 are not possible: .* multiples of 8/],
  ['no size', ['--prompt', 'x', '--size', 'big'], 'CommanderError', /768x512/],
  ['half an image', ['--prompt', 'x', '--count', '1.5'], 'CommanderError', /whole number of at least 1/],
  ['an unknown sampler', ['--prompt', 'x', '--sampler', 'best'], 'CommanderError', /ddim, ddpm, euler/],
  ['too many steps', ['--prompt', 'x', '--sampling-steps', '5000'], 'SamplingError', /whole number from 1 to 1000/],
  ['an endless prompt', ['--prompt', 'x'.repeat(9000)], 'SamplingError', /at most 8192/],
  ['an endless seed', ['--prompt', 'x', '--count', '2', '--seed', '9007199254740991'], 'UsageError',
    /take at most 9007199254740990/],
  ['no such model', ['--prompt', 'x', '--model', 'nowhere'], 'FormatError', /no folder, file or hub id/],
  ['no such LoRA', ['--prompt', 'x', '--lora', 'nowhere:0.5'], 'FormatError', /nowhere: does not exist/],
  ['a LoRA of another model', ['--prompt', 'x', '--lora', join(fixtures, 'lora_sdxl_kohya.safetensors')], 'FormatError',
    /does not fit .*\d+ of its \d+ layers.*the model has/],
])('%s is a clear error before anything is written', async (_, args, name, message) => {
  const out = join(folder, 'bad');
  await expect(run(sampleCommand(), '--model', tiny, '--size', '64', '--out', out, '--quiet', ...args))
    .rejects.toMatchObject({ name, message: expect.stringMatching(message) as string });
  expect(await readdir(out).catch(() => 'none')).toBe('none');
});

test('an interrupted command keeps the images that are done', async () => {
  const out = join(folder, 'interrupted');
  const running = attune(['sample', '--model', tiny, '--size', '64', '--prompt', 'x', '--count', '5000',
    '--sampling-steps', '2', '--batch', '1', '--threads', '1', '--out', out]);
  await running.until('00001.png');
  running.child.kill('SIGINT');
  const { code, stdout, stderr } = await running.finished;
  expect(code, stderr).toBe(130);
  const files = stdout.trim().split('\n');
  expect(files.length).toBeLessThan(5001);
  expect((await readdir(out)).map((name) => join(out, name)).toSorted()).toEqual(files);
  expect(files.at(-1)).toBe(join(out, 'grid.png'));
});
