/** @file A scorer of the user's own that dies in the middle of a run: the run says so, and goes on once it is back. */
import { createServer } from 'node:http';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { attune } from '../cli-process.js';

const root = await mkdtemp(join(tmpdir(), 'attune-scorer-'));
let answers = Infinity;
const server = createServer(async (request, response) => {
  let text = '';
  for await (const part of request) text += part;
  const { images } = JSON.parse(text) as { images: string[] };
  if (answers-- > 0) response.end(JSON.stringify({ scores: images.map((png) => png.length / 1000) }));
  else response.writeHead(503).end('loading the model');
});
await new Promise<void>((resolve) => {
  server.listen(0, '127.0.0.1', resolve);
});
afterAll(async () => {
  server.close();
  await rm(root, { recursive: true, force: true });
});

test('what was saved stays, and the run goes on to its end', { timeout: 300_000 }, async () => {
  await writeFile(join(root, 'prompts.txt'), 'a cat\na dog\n');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const folder = join(root, 'run');
  const settings = [
    '--model', join(import.meta.dirname, '..', 'fixtures', 'pipeline_sd1'), '--method', 'ddpo', '--reward', `http?url=${url}`,
    '--prompts', join(root, 'prompts.txt'), '--steps', '4', '--batch', '2', '--sampling-steps', '2', '--threads', '1', '--guidance', '1',
    ...['size=64', 'checkpointEvery=1', 'evaluation.every=0', 'evaluation.prompts=1', 'evaluation.images=2', 'evaluation.sweep=[1]', 'evaluation.heldOut=null', 'evaluation.features=null']
      .flatMap((s) => ['--set', s]),
  ];
  answers = 3; // the base model's pictures, and the two batches of the first round of two updates
  const broken = await attune(['train', ...settings, '--out', folder]).finished;
  expect(broken.code).toBe(1);
  expect(broken.stderr).toContain(`attune: reward http: the scorer at ${url} refuses with status 503: loading the model`);
  expect(broken.stderr).toContain(`Go on from it with: attune train --resume ${folder}`);
  expect(broken.stderr).not.toMatch(/\n {4}at /);
  answers = Infinity;
  const resumed = await attune(['train', '--resume', folder]).finished;
  expect(resumed).toMatchObject({ code: 0 });
  const steps = (await readFile(join(folder, 'metrics.jsonl'), 'utf8')).trim().split('\n').map((line) => (JSON.parse(line) as { step: number }).step);
  expect(steps).toEqual([0, 1, 2, 3, 4]);
});
