/** @file A GPU that is lost in the middle of a run, which then goes on without it. The CPU stands in for the GPU here. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession } from 'onnxruntime-node';
import { expect, test, vi } from 'vitest';
import { silent } from '../../src/runs/progress.js';
import { resolveConfig } from '../../src/training/config.js';
import { runTraining } from '../../src/training/run.js';
import { scratch, tiny } from '../cli/helpers.js';

const root = scratch();
writeFileSync(join(root, 'prompts.txt'), 'a cat\na dog\n');
const config = resolveConfig({
  model: tiny, prompts: join(root, 'prompts.txt'), rewards: ['symmetry'], method: { name: 'refl' }, steps: 3, batch: 2,
  samplingSteps: 2, size: 32, threads: 1, guidance: 1, checkpointEvery: 1, lora: { rank: 1, targets: ['to_q'] },
  evaluation: { every: 0, prompts: 1, images: 2, heldOut: null, features: null, sweep: [1], final: { promptSet: null } },
}, []);

let lost = false;
const create = InferenceSession.create.bind(InferenceSession) as (model: Uint8Array, options: object) => Promise<InferenceSession>;
vi.spyOn(InferenceSession, 'create').mockImplementation((async (model: Uint8Array, { preferredOutputLocation: _, ...options }: InferenceSession.SessionOptions) => {
  const onGpu = String(options.executionProviders) === 'webgpu';
  const session = await create(model, { ...options, executionProviders: ['cpu'] });
  if (!onGpu) return session;
  const run = session.run.bind(session) as (feeds: object) => Promise<object>;
  return Object.assign(session, {
    run: (feeds: object) => (lost ? Promise.reject(new Error('Failed to download data from buffer: Device is lost.')) : run(feeds)),
  });
}) as never);

test('the run ends with a sentence and its last checkpoint; it goes on elsewhere, in the precision it was begun with', { timeout: 300_000 }, async () => {
  const path = join(root, 'run');
  const told: string[] = [];
  const progress = {
    ...silent,
    phase: (text: string) => void told.push(text),
    warn: (text: string) => void told.push(text),
    step: (done: number, _total: number, unit?: string) => {
      if (unit?.startsWith('reward') && done === 1) setImmediate(() => (lost = true));
    },
  };
  await expect(runTraining({ ...config, device: 'webgpu' }, path, { progress })).rejects.toThrow(/^webgpu: the device is gone .*--device cpu/);
  expect(told.join('\n')).toMatch(/precision: mixed, as this GPU computes in float16.*ends with an error; .*step-00000\d is saved/s);
  lost = false;
  told.length = 0;
  await runTraining({ ...config, device: 'cpu' }, path, { progress, resume: true });
  expect(told.join('\n')).toMatch(/goes on in another place, so it is no longer the same to the last bit: device webgpu → cpu/);
  const { changes } = JSON.parse(readFileSync(join(path, 'manifest.json'), 'utf8')) as { changes: { changed: object }[] };
  expect(changes.map(({ changed }) => changed)).toEqual([{ device: 'webgpu → cpu' }]);
  expect(readFileSync(join(path, 'config.yaml'), 'utf8')).toMatch(/precision: mixed/);
});
