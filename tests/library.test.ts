/** @file The package as a library: `import … from 'attune'`, a run with a reward and a method of the caller's. */
import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readLora } from '../src/formats/lora-file.js';
import { graph, loadPipeline, METHODS, pixelReward, resolveConfig, runTraining } from '../src/index.js';
import type { Method } from '../src/index.js';
import { defaultGuidance } from '../src/sampling/defaults.js';
import { scratch, tiny } from './cli/helpers.js';

const ROOT = join(import.meta.dirname, '..');
const folder = scratch();

const red = pixelReward({
  name: 'red', description: 'mean of the red channel', range: [0, 1],
  trace: (images) => graph.mean(graph.narrow(images, 1, 0, 1), { axes: [1, 2, 3] }),
});

const config = resolveConfig({
  model: tiny, prompts: 'animals', rewards: ['symmetry'], method: { name: 'drtune' }, steps: 2, batch: 2, samplingSteps: 2, size: 64,
  threads: 1, lr: 0.01, evaluation: { every: 2, prompts: 2, images: 2, heldOut: null, features: null, sweep: [], final: { prompts: 2 } },
}, []);

test('what package.json promises is there', () => {
  const script = 'import("attune").then((a) => console.log(Object.keys(a).sort().join()))';
  const names = execFileSync(process.execPath, ['-e', script], { cwd: ROOT, encoding: 'utf8' }).trim().split(',');
  expect(names).toEqual(expect.arrayContaining(['graph', 'pixelReward', 'resolveConfig', 'runTraining']));
});

test('a run with a reward and a method of one\'s own', async () => {
  let rounds = 0;
  const draft = METHODS.find(({ name }) => name === 'draft')!;
  const mine: Method<never> = {
    ...draft,
    name: 'mine',
    async create(task, options) {
      const rule = await draft.create(task, options);
      return {
        ...rule,
        round(prompts, round) {
          rounds += 1;
          return rule.round(prompts, round);
        },
      };
    },
  };
  const path = join(folder, 'own');
  const own = { reward: red, method: mine };
  const stopping = new AbortController();
  const progress = { phase: () => {}, warn: () => {}, step: () => rounds === 1 && stopping.abort() };
  expect(await runTraining(config, path, { own, progress, signal: stopping.signal })).toBeNull();
  await expect(runTraining({ ...config, lr: 0.02 }, path, { own, resume: true })).rejects.toThrow('a run of other settings');
  await expect(runTraining(config, path, { own: { reward: red }, resume: true })).rejects.toThrow('a run of other settings');
  const summary = await runTraining(config, path, { own, resume: true });
  expect(summary).toMatchObject({ steps: 2, ended: 'finished', rewardQueries: 4 });
  expect(summary!.base.reward).toBeGreaterThan(0);
  expect(rounds).toBe(2);
  const stored = await readFile(join(path, 'config.yaml'), 'utf8');
  expect(stored).toMatch(/rewards:\n\s+- red/);
  expect(stored).toMatch(/name: mine/);
  for (const file of summary!.lora) {
    expect(defaultGuidance(await loadPipeline(tiny), [(await readLora(file)).lora])).toBe(config.guidance);
  }
  await expect(runTraining(config, path, { own: { reward: red } })).rejects.toThrow('already holds a run');
}, 300_000);
