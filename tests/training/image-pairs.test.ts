import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { inCuts } from '../../src/methods/cuts.js';
import { openWork } from '../../src/methods/work.js';
import { writePng } from '../../src/formats/image.js';
import { host } from '../../src/graph/dtype.js';
import { loadPipeline } from '../../src/loading/load.js';
import { compile } from '../../src/runtime/compile.js';
import { readPairs, readPictures } from '../../src/training/image-pairs.js';
import { openTaskData } from '../../src/training/task-data.js';

const root = await mkdtemp(join(tmpdir(), 'attune-pairs-'));
afterAll(() => rm(root, { recursive: true, force: true }));

const folder = join(root, 'pairs');
await mkdir(folder);
const picture = (value: number, width = 8, height = 8) => host(new Float32Array(3 * width * height).fill(value), [3, height, width]);
await writePng(join(folder, 'white.png'), picture(1));
await writePng(join(folder, 'black.png'), picture(0));
await writePng(join(folder, 'wide, grey.png'), picture(0.2, 16, 8));
await writePng(join(root, 'outside.png'), picture(0));
await symlink(join(root, 'outside.png'), join(folder, 'link.png'));

let lists = 0;
async function list(kind: 'csv' | 'jsonl', text: string): Promise<string> {
  const path = join(folder, `list-${++lists}.${kind}`);
  await writeFile(path, text);
  return path;
}

describe('a list of image pairs', () => {
  test('is read from CSV, columns in any order, quotes and other columns allowed', async () => {
    const path = await list('csv', '\ufeffloser,note,prompt,winner\r\nblack.png,,"a ""cat"", sitting",white.png\r\n\r\nwhite.png,x,dog,"wide, grey.png"\r\n');
    expect(await readPairs(path)).toEqual([
      { prompt: 'a "cat", sitting', winner: join(folder, 'white.png'), loser: join(folder, 'black.png') },
      { prompt: 'dog', winner: join(folder, 'wide, grey.png'), loser: join(folder, 'white.png') },
    ]);
  });

  test('is read from JSONL', async () => {
    const path = await list('jsonl', '{"prompt": "", "winner": "white.png", "loser": "black.png", "label": 1}\n\n');
    expect(await readPairs(path)).toEqual([{ prompt: '', winner: join(folder, 'white.png'), loser: join(folder, 'black.png') }]);
  });

  test.each([
    ['csv', 'prompt,winner\na,white.png\n', 'has no column "loser"'],
    ['csv', 'prompt,winner,loser\na,white.png\n', ':2: loser'],
    ['csv', '', 'has no column "prompt"'],
    ['csv', 'prompt,winner,loser\n', 'lists no pair'],
    ['jsonl', '{"prompt": "a"', ':1:15: not JSON'],
    ['jsonl', '\n[1]', ':2: '],
    ['jsonl', '{"prompt": 1, "winner": "white.png", "loser": "black.png"}', ':1: prompt'],
    ['jsonl', '{"prompt": "a", "winner": "missing.png", "loser": "black.png"}', 'there is no image missing.png'],
    ['jsonl', '{"prompt": "a", "winner": "../outside.png", "loser": "black.png"}', '../outside.png lies outside'],
    ['jsonl', '{"prompt": "a", "winner": "link.png", "loser": "black.png"}', 'link.png lies outside'],
    ['jsonl', '{"prompt": "a", "winner": ".", "loser": "black.png"}', '. lies outside'],
  ] as const)('%s %j is refused: %s', async (kind, text, message) => {
    await expect(readPairs(await list(kind, text))).rejects.toThrow(message);
  });

  test('that does not exist is named', async () => {
    await expect(readPairs(join(folder, 'none.csv'))).rejects.toThrow('there is no list of image pairs');
  });

  test('pictures of any shape fill a square', async () => {
    const images = await readPictures([join(folder, 'wide, grey.png'), join(folder, 'white.png')], 8);
    expect(images.shape).toEqual([2, 3, 8, 8]);
    expect(images.data[0]).toBeCloseTo(51 / 255, 5);
    expect(images.data.at(-1)).toBe(1);
    await expect(readPictures([await list('csv', 'no picture')], 8)).rejects.toThrow('cannot be read as an image');
  });
});

test('a task gets pairs as latents, winners and losers apart', async () => {
  const pipeline = await loadPipeline(join(import.meta.dirname, '..', 'fixtures', 'pipeline_sd1'));
  const { data, release } = openTaskData(pipeline, {
    microbatch: 2, seed: 1, size: 32,
    async compile(outputs) {
      const executable = await compile({ outputs }, { threads: 1, weights: pipeline.weights });
      return { run: inCuts(outputs, (feeds) => executable.run(feeds), 2, {}, openWork()), release: () => executable.release() };
    },
  });
  const pairs = await data.pairs(await list('csv', 'prompt,winner,loser\na,white.png,black.png\nb,black.png,white.png\n'));
  expect(pairs.prompts).toEqual(['a', 'b']);
  const { winners, losers } = await pairs.samples([0, 1, 0]);
  await release();
  expect(winners.shape).toEqual(losers.shape);
  expect(winners.shape[0]).toBe(3);
  const item = (t: typeof winners, i: number) => (t.data as Float32Array).subarray((i * t.data.length) / 3, ((i + 1) * t.data.length) / 3);
  expect(item(winners, 0)).toEqual(item(losers, 1));
  expect(item(winners, 0)).toEqual(item(winners, 2));
  expect(item(winners, 0)).not.toEqual(item(losers, 0));
});
