import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { listCommand } from '../../src/cli/list.js';
import { sampleCommand } from '../../src/cli/sample.js';
import { searchCommand } from '../../src/cli/search.js';
import { imageSize, readImage } from '../../src/formats/image.js';
import { attune } from '../cli-process.js';
import { fixtures, pngText, run, scratch, tiny } from './helpers.js';

// Whoever trains nothing opens neither a training session nor a task nor a LoRA.
const { refusing } = vi.hoisted(() => ({
  refusing: (name: string) => async (original: () => Promise<object>) => ({ ...await original(), [name]: () => {
    throw new Error(`${name}, where nothing is trained`);
  } }),
}));
vi.mock('../../src/training/session.js', refusing('openSession'));
vi.mock('../../src/training/pipeline-task.js', refusing('openPipelineTask'));
vi.mock('../../src/nn/lora.js', refusing('loraAdapter'));

const folder = scratch();
let made = 0;

interface Entry {
  item: number;
  candidate: number;
  seed: number;
  noise: object | null;
  steps: number;
  score: number;
  denoiserCalls: number;
  rewardQueries: number;
}

interface Result {
  images: { file: string; prompt: string; score: number; baseScore: number; winner: Entry }[];
  options: object;
  denoiserCalls: number;
  rewardQueries: number;
  grid: string;
}

const SMALL = ['--model', tiny, '--size', '64', '--threads', '1', '--quiet'];

/** Searches with small images of the tiny pipeline into a new folder. */
async function search(...args: string[]): Promise<Result & { trace: Entry[] }> {
  const out = join(folder, String(made++));
  const { stdout } = await run(searchCommand(), ...SMALL, '--sampling-steps', '3', '--out', out, '--json', ...args);
  expect(JSON.parse(await readFile(join(out, 'search.json'), 'utf8'))).toEqual(JSON.parse(stdout));
  const lines = (await readFile(join(out, 'trace.jsonl'), 'utf8')).trimEnd().split('\n');
  return { ...(JSON.parse(stdout) as Result), trace: lines.map((line) => JSON.parse(line) as Entry) };
}

const pixels = (file: string): Promise<Float32Array> => readImage(file).then((image) => image.data as Float32Array);

test('guidance 0 is none: one network call a step', async () => {
  const { denoiserCalls } = await search('--prompt', 'a cat', '--reward', 'color', '--set', 'search.n=2', '--guidance', '0');
  expect(denoiserCalls).toBe(2 * 3);
});

test('the best of n is written, and is the picture that sampling makes from its seed', async () => {
  const { images, trace, grid, denoiserCalls, rewardQueries } = await search(
    '--prompt', 'a cat', '--prompt', 'two, dogs', '--reward', 'color', '--set', 'search.n=3', '--seed', '7');
  expect(images.map(({ file, prompt }) => [file.split('/').at(-1), prompt])).toEqual([
    ['00000.png', 'a cat'], ['00001.png', 'two, dogs'],
  ]);
  expect([denoiserCalls, rewardQueries]).toEqual([2 * 3 * 3 * 2, 2 * 3]); // with guidance
  expect(trace.map(({ item, candidate, seed }) => [item, candidate, seed])).toEqual([
    [0, 0, 7], [0, 1, 1_000_007], [0, 2, 2_000_007], [1, 0, 8], [1, 1, 1_000_008], [1, 2, 2_000_008],
  ]);
  for (const [item, { file, score, baseScore, winner }] of images.entries()) {
    const own = trace.filter((t) => t.item === item);
    expect(score).toBe(Math.max(...own.map((t) => t.score)));
    expect(baseScore).toBeCloseTo(own[0]!.score, 5);
    expect(await readFile(file, 'latin1')).toContain(`Seed: ${winner.seed}, Size: 64x64`);
  }
  const { file, prompt, winner } = images[1]!;
  const again = join(folder, 'again');
  await run(sampleCommand(), ...SMALL, '--sampling-steps', '3', '--prompt', prompt, '--seed', `${winner.seed}`,
    '--out', again);
  const [a, b] = [await pixels(file), await pixels(join(again, '00000.png'))];
  expect(a.reduce((worst, v, i) => Math.max(worst, Math.abs(v - b[i]!) * 255), 0)).toBeLessThan(1.01);
  const sheet = imageSize(await readImage(grid));
  expect(sheet.width).toBeGreaterThan(2 * 192);
  expect(sheet.height).toBeGreaterThan(2 * 192);
});

test('two workers find what one finds: the same batches, two at a time', async () => {
  const wanted = ['--prompt', 'a cat', '--prompt', 'a dog', '--reward', 'color', '--set', 'search.n=4', '--batch', '2'];
  const [one, two] = [await search(...wanted), await search(...wanted, '--workers', '2')];
  expect(two.trace).toEqual(one.trace);
});

test('paths with a black box in a weighted sum, a LoRA and a budget', async () => {
  const { images, trace, options, denoiserCalls } = await search('--prompt', 'a cat', '--search', 'paths',
    '--reward', 'jpeg-compressibility:0.1', '--reward', 'symmetry',
    '--lora', join(fixtures, 'lora_sd1_kohya.safetensors:0.5'), '--guidance', '1',
    '--set', 'search.branches=2', '--budget', '40');
  // n initial steps, then rounds of 2n branches from step 0 to 2 and from 1 to 3: 9 calls for each n.
  expect(options).toEqual({ n: 4, branches: 2 });
  expect(denoiserCalls).toBe(36);
  expect(trace.map((t) => t.steps)).toEqual([...new Array<number>(8).fill(2), ...new Array<number>(8).fill(3)]);
  expect(images[0]!.score).toBe(Math.max(...trace.slice(8).map((t) => t.score)));
  const png = await readFile(images[0]!.file);
  const told = JSON.parse(pngText(png, 'attune')!) as object; // without folders
  expect(told).toMatchObject({ model: 'pipeline_sd1', loras: [{ path: 'lora_sd1_kohya.safetensors', strength: 0.5 }], search: 'paths' });
  expect(pngText(png, 'parameters')).toBeUndefined(); // no seed makes it again
});

test.each([
  ['no prompt', [], 'UsageError', /no prompt; give --prompt/],
  ['no reward', ['--prompt', 'x'], 'UsageError', /give --reward NAME/],
  ['an unknown reward', ['--prompt', 'x', '--reward', 'colour'], 'RewardSpecError', /Did you mean color/],
  ['an unknown search', ['--prompt', 'x', '--search', 'zero'], 'CommanderError', /best-of-n, zero-order, paths/],
  ['an unknown setting', ['--prompt', 'x', '--reward', 'color', '--set', 'search.m=2'], 'ConfigError',
    /Did you mean search\.n/],
  ['no candidates', ['--prompt', 'x', '--reward', 'color', '--set', 'search.n=0'], 'ConfigError', /search\.n: is 0, and must be more than 0/],
  ['a small budget', ['--prompt', 'x', '--reward', 'color', '--budget', '5', '--sampling-steps', '3'], 'UsageError',
    /at least 6 denoiser calls/],
  ['two efforts', ['--prompt', 'x', '--reward', 'color', '--budget', '500', '--set', 'search.n=2'], 'UsageError',
    /--budget decides search\.n/],
  ['going back with a multistep sampler',
    ['--prompt', 'x', '--reward', 'color', '--search', 'paths', '--sampler', 'dpm++2m'], 'SamplingError',
    /one-step sampler/],
  ['an endless seed', ['--prompt', 'x', '--reward', 'color', '--seed', '9007199254740991'], 'UsageError',
    /take at most/],
])('%s is a clear error before anything is written', async (_, args, name, message) => {
  const out = join(folder, 'bad');
  await expect(run(searchCommand(), ...SMALL, '--out', out, ...args))
    .rejects.toMatchObject({ name, message: expect.stringMatching(message) as string });
  expect(await readdir(out).catch(() => 'none')).toBe('none');
});

test('an interrupted search keeps the prompts that are done', async () => {
  const [out, prompts] = [join(folder, 'interrupted'), join(folder, 'prompts.txt')];
  await writeFile(prompts, Array.from({ length: 20 }, (_, i) => `cat ${i}`).join('\n'));
  const running = attune(['search', ...SMALL, '--prompts', prompts, '--reward', 'color', '--set', 'search.n=40',
    '--sampling-steps', '2', '--batch', '1', '--out', out]);
  await running.until('00001.png');
  running.child.kill('SIGINT');
  const { code, stdout, stderr } = await running.finished;
  expect(code, stderr).toBe(130);
  const { images } = JSON.parse(await readFile(join(out, 'search.json'), 'utf8')) as Result;
  expect(images.length).toBeGreaterThan(1);
  expect(images.length).toBeLessThan(20);
  expect(stdout.trim().split('\n')).toHaveLength(images.length + 1);
  const trace = (await readFile(join(out, 'trace.jsonl'), 'utf8')).trimEnd().split('\n');
  expect(trace).toHaveLength(40 * images.length);
  expect(await readdir(out)).toHaveLength(images.length + 3);
});

test('searches are listed with their settings', async () => {
  const { stdout } = await run(listCommand(), 'searches', '--json');
  expect(JSON.parse(stdout)).toMatchObject([
    { name: 'best-of-n', options: ['n'] },
    { name: 'zero-order', options: ['rounds', 'neighbours', 'cosine', 'restart'] },
    { name: 'paths', options: ['n', 'branches', 'start', 'forward', 'backward'] },
  ]);
});
