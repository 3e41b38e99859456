/** @file Runs that are subject to constraints and count in the base model's deviations: logged, resumed to the bit, reported. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { host } from '../../src/graph/dtype.js';
import type { Method } from '../../src/methods/method.js';
import { openRollouts } from '../../src/methods/rollout.js';
import { readManifest } from '../../src/runs/manifest.js';
import { silent } from '../../src/runs/progress.js';
import { runTraining } from '../../src/training/run.js';
import { resolveConfig } from '../../src/training/config.js';
import { scratch, tiny } from '../cli/helpers.js';

const root = scratch();
await writeFile(join(root, 'prompts.txt'), 'a cat\na dog\n');
const config = () => resolveConfig({
  model: tiny, prompts: join(root, 'prompts.txt'), rewards: ['color', 'symmetry:0.5'], subjectTo: ['color?property=saturation<=base-3sd'], normalise: true,
  baseImages: 8, method: { name: 'push' }, steps: 2, batch: 2, samplingSteps: 2, size: 32, threads: 1, guidance: 1, checkpointEvery: 1, lr: 0.02,
  lora: { rank: 1, targets: ['to_q'] },
  evaluation: { every: 0, prompts: 1, images: 2, heldOut: null, features: null, sweep: [1], final: { prompts: 0 } },
}, []);

const rowsOf = async (folder: string): Promise<Record<string, number>[]> =>
  (await readFile(join(folder, 'metrics.jsonl'), 'utf8')).trim().split('\n').map((line) => JSON.parse(line) as Record<string, number>);

async function train(folder: string, of: ReturnType<typeof config>, options: { resume?: boolean; signal: AbortSignal; method: Method<never> }): Promise<string[]> {
  const told: string[] = [];
  const { method, ...rest } = options;
  await runTraining(of, folder, { ...rest, progress: { ...silent, phase: (text) => told.push(text) }, own: { method } });
  return told;
}

/**
 * Moves all that is trained by what the images of a round score, pull of the constraint included: cheap to compile, and
 * other multipliers are other weights. Asked to stop when it begins round `stopIn`.
 */
function pushing(stopIn = Infinity): { method: Method<never>; signal: AbortSignal } {
  const stop = new AbortController();
  const method: Method<never> = {
    name: 'push', summary: '', paper: 'none', options: z.any() as unknown as z.ZodType<never>,
    needs: { differentiableReward: false, density: false }, sampling: { noise: 0, noisyEnd: false },
    create: async (task) => {
      const rollouts = await openRollouts(task);
      return {
        async *round(prompts, round) {
          if (round === stopIn) stop.abort();
          const { x } = await rollouts.rollout(prompts, round);
          const rewards = await task.reward.score(x.at(-1)!, prompts);
          yield {
            gradients: new Map([...task.parameters].map(([name, { shape, data }]) => [name, host(new Float32Array(data.length).fill(-rewards[0]!), shape)])),
            loss: 1, rewards,
          };
        },
        release: () => rollouts.release(),
      };
    },
  };
  return { method, signal: stop.signal };
}

const whole = join(root, 'whole');
beforeAll(async () => {
  const told = await train(whole, config(), pushing());
  expect(told.join('\n')).toMatch(/measuring the rewards on 8 images of the base model\nthe base model's rewards, mean and deviation: color [\d.]+, [\d.e-]+; symmetry/);
}, 60_000);

test('each update tells a constraint\'s value, violation and multiplier; the multiplier grows while it is broken', async () => {
  const base = (await readManifest(whole))!['baseRewards'] as { rewards: Record<string, { mean: number; std: number }>; images: number };
  expect(base.images).toBe(8);
  const { mean, std } = base.rewards['color#2']!;
  const updates = (await rowsOf(whole)).filter((row) => row['loss'] !== undefined);
  expect(updates).toHaveLength(2);
  let multiplier = 0;
  for (const row of updates) {
    const violation = (row['constraint/color#2']! - (mean - 3 * std)) / std;
    expect(row['violation/color#2']).toBeCloseTo(violation, 4);
    expect(violation).toBeGreaterThan(0);
    expect(row['multiplier/color#2']).toBeGreaterThan(multiplier);
    multiplier = row['multiplier/color#2']!;
  }
});

test('evaluations measure it, the report shows it, and the checkpoint is chosen by it', async () => {
  const [first] = await rowsOf(whole);
  expect(first!['evalReward/color#2']).toBeGreaterThan(0);
  const report = await readFile(join(whole, 'report.html'), 'utf8');
  expect(report).toContain('<h2>Constraints</h2>');
  expect(report).toContain('color?property=saturation &lt;= base-3sd');
  expect(report).toContain('Multiplier: color#2');
  expect(report).not.toContain('NaN');
});

test('interrupted and resumed it is the same to the bit, and the base model is not measured again', async () => {
  const cut = join(root, 'cut');
  await train(cut, config(), pushing(1));
  const told = await train(cut, config(), { resume: true, ...pushing() });
  expect(told.join('\n')).not.toMatch(/measuring the rewards/);
  const state = async (folder: string): Promise<{ tensors: Buffer; objective: unknown }> => {
    const last = (await readdir(join(folder, 'checkpoints'))).toSorted().at(-1)!;
    const { values } = JSON.parse(await readFile(join(folder, 'checkpoints', last, 'state.json'), 'utf8')) as { values: { objective: unknown } };
    return { tensors: await readFile(join(folder, 'checkpoints', last, 'state.safetensors')), objective: values.objective };
  };
  const [a, b] = [await state(whole), await state(cut)];
  expect(b.objective).toEqual(a.objective);
  expect(b.tensors.equals(a.tensors)).toBe(true);
  const essence = async (folder: string) => (await rowsOf(folder)).map((row) => ({ ...row, seconds: 0 }));
  expect(await essence(cut)).toEqual(await essence(whole));
  expect((await readManifest(cut))!['baseRewards']).toEqual((await readManifest(whole))!['baseRewards']);
});
