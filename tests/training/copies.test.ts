/** @file Copies of the trained values: a method samples with an old one and regresses on it; checkpoints keep it and the average. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { z } from 'zod';
import type { HostTensor } from '../../src/graph/dtype.js';
import { mean } from '../../src/graph/ops/reduce.js';
import { square, sub } from '../../src/graph/ops/arithmetic.js';
import { openLoss } from '../../src/methods/loss-graph.js';
import type { Method } from '../../src/methods/method.js';
import { mixInto } from '../../src/methods/policy.js';
import { openRollouts } from '../../src/methods/rollout.js';
import { sampleInput, samplesOf, stepsInput } from '../../src/methods/task.js';
import { silent } from '../../src/runs/progress.js';
import { stepFeed } from '../../src/schedulers/step.js';
import { readCheckpoint } from '../../src/training/checkpoint.js';
import { resolveConfig } from '../../src/training/config.js';
import { runTraining } from '../../src/training/run.js';
import { scratch, tiny } from '../cli/helpers.js';

const root = scratch();
const prompts = join(root, 'prompts.txt');
writeFileSync(prompts, 'a cat\n');
const STEPS = 4;
const config = resolveConfig({
  model: tiny, prompts, rewards: ['symmetry'], steps: STEPS, batch: 2, microbatch: 2, samplingSteps: 1, size: 32, threads: 1, guidance: 1,
  ema: 0.5, checkpointEvery: 1, lr: 1e-2, lora: { rank: 1, targets: ['to_q'] }, precision: 'float32',
  evaluation: { every: 0, prompts: 1, images: 2, heldOut: null, features: null, sweep: [1], final: { prompts: 0 } },
}, []);

const flat = (values: ReadonlyMap<string, HostTensor>): number[] => [...values.values()].flatMap(({ data }) => [...data as Float32Array]);

/** Samples with `old`, which follows at half the distance; pulls the network away from what `old` said, by the reward. */
const oldPolicy: Method<never> = {
  name: 'old-policy', summary: '', paper: '', options: z.object({}) as unknown as Method<never>['options'],
  needs: { differentiableReward: false, density: false },
  sampling: { noise: 0, noisyEnd: false },
  async create(task) {
    const old = task.copy('old');
    expect(task.copy('old')).toBe(old);
    const [sampler, now] = [await openRollouts(task, 'tuned', 'rollout', { values: old }), await openRollouts(task)];
    const [x, target, step] = [sampleInput(task, 'x'), sampleInput(task, 'target'), stepsInput(task, 'step')];
    const loss = await openLoss(task, mean(square(sub(task.network(x, step, 'tuned'), target))), { over: 'mean' });
    return {
      async *round(texts, round) {
        if (round > 0) mixInto(old, task.parameters, 0.5);
        const { x: way, outputs, steps } = await sampler.rollout(texts, round);
        const rewards = await task.reward.score(way.at(-1)!, texts);
        const present = await now.predict(way[0]!, steps[0]!, texts);
        // At first the same policy, by the same graph; never again.
        if (round === 0) expect(present).toEqual(outputs[0]);
        else expect(present).not.toEqual(outputs[0]);
        const said = outputs[0]!.data as Float32Array;
        const away = samplesOf(task, said.map((v, i) => v + rewards[i < said.length / 2 ? 0 : 1]!));
        const part = await loss.run({ x: way[0]!, step: stepFeed([steps[0]!, steps[0]!]), target: away }, texts);
        yield { ...part, rewards };
      },
      release: async () => {
        await Promise.all([sampler.release(), now.release(), loss.release()]);
      },
    };
  },
};

/** The last checkpoint of a run. */
async function last(folder: string) {
  const name = readdirSync(join(folder, 'checkpoints')).toSorted().at(-1)!;
  return { name, bytes: readFileSync(join(folder, 'checkpoints', name, 'state.safetensors')), ...await readCheckpoint(join(folder, 'checkpoints', name)) };
}

test('a method has copies of the trained values, and a run that is stopped and goes on ends with the same bits in them', async () => {
  const [whole, stopped] = [join(root, 'whole'), join(root, 'stopped')];
  const own = { method: oldPolicy };
  expect(await runTraining(config, whole, { own })).not.toBeNull();
  const stopping = new AbortController();
  const progress = { ...silent, step: (done: number, total: number) => void (total === STEPS && done === 2 && stopping.abort()) };
  expect(await runTraining(config, stopped, { own, progress, signal: stopping.signal })).toBeNull();
  expect((await last(stopped)).step).toBe(2);
  expect(await runTraining(config, stopped, { own, resume: true })).not.toBeNull();
  const [one, other] = [await last(whole), await last(stopped)];
  expect(other.bytes.equals(one.bytes)).toBe(true);
  const { parameters, average, 'copy old': old } = one.tensors;
  const sets = [parameters!, average!, old!].map(flat);
  expect(new Set(sets.map((set) => set.length)).size).toBe(1);
  expect(new Set(sets.map((set) => JSON.stringify(set))).size).toBe(3);
});
