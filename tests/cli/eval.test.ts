import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, expect, test, vi } from 'vitest';
import { compareCommand } from '../../src/cli/compare.js';
import { evalCommand } from '../../src/cli/eval.js';
import { readLora, writeLora } from '../../src/formats/lora-file.js';
import { GUIDANCE_NOTE } from '../../src/sampling/defaults.js';
import { planCommand } from '../../src/cli/plan.js';
import { fixtures, run, scratch, smallRun, tiny } from './helpers.js';

vi.setConfig({ testTimeout: 300_000 });

/** Models that are open. */
let open = 0;
vi.mock('../../src/training/measuring.js', async (original) => {
  const actual = await original<typeof import('../../src/training/measuring.js')>();
  return {
    ...actual,
    openMeasuring: async (...args: Parameters<typeof actual.openMeasuring>) => {
      const measuring = await actual.openMeasuring(...args);
      open += 1;
      return { ...measuring, release: async () => {
        open -= 1;
        await measuring.release();
      } };
    },
  };
});
beforeEach(() => {
  open = 0;
});

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
const kohya = join(fixtures, 'lora_sd1_kohya.safetensors');
const small = [...await smallRun(folder), '--json', '--quiet'];

interface Row {
  model: string;
  reward: number;
  heldOutReward?: number;
  heldOutError?: number;
}

const evaluate = async (...args: string[]): Promise<Row[]> =>
  JSON.parse((await run(evalCommand(), ...small, ...args)).stdout) as Row[];

test('a LoRA is measured beside its base model, at its strength', async () => {
  const alone = await evaluate();
  const [base, tuned] = await evaluate('--lora', kohya) as [Row, Row];
  const [, off] = await evaluate('--lora', `${kohya}:0`) as [Row, Row];
  expect(alone).toEqual([base]);
  // Without features and judge: what was not measured is not there.
  expect(Object.keys(base)).toEqual(['model', 'step', 'reward']);
  expect(open).toBe(0);
  expect(tuned.model).toBe(`${tiny} + ${kohya}:1`);
  expect(Math.abs(tuned.reward - base.reward)).toBeGreaterThan(1e-3);
  expect(off.reward).toBe(base.reward);
});

test('the guidance that a LoRA was trained with is taken, if no other is given', async () => {
  const noted = join(folder, 'noted.safetensors');
  const { lora } = await readLora(kohya);
  await writeLora(noted, { ...lora, metadata: { ...lora.metadata, [GUIDANCE_NOTE]: '1' } }, 'kohya');
  const rewards = async (...args: string[]): Promise<number[]> => (await evaluate(...args)).map((row) => row.reward);
  const [one, five] = [await rewards('--lora', kohya, '--guidance', '1'), await rewards('--lora', kohya, '--guidance', '5')];
  expect(one).not.toEqual(five);
  expect(await rewards('--lora', noted)).toEqual(one);
  expect(await rewards('--lora', noted, '--guidance', '5')).toEqual(five);
});

test('a LoRA that changes nothing is told of', async () => {
  const { stderr } = await run(evalCommand(), ...small, '--lora', `${kohya}:0`);
  expect(stderr).toMatch(/kohya.*: at strength 0 it has no effect/);
  expect((await run(evalCommand(), ...small, '--lora', kohya)).stderr).not.toContain('no effect');
});

test('a black-box reward is measured, by itself and as the judge', async () => {
  const boxed = small.map((word) => (word === 'symmetry' ? 'jpeg-compressibility' : word));
  const [alone] = JSON.parse((await run(evalCommand(), ...boxed)).stdout) as [Row];
  const [, tuned] = JSON.parse((await run(evalCommand(), ...small, '--lora', `${kohya}:0`, '--set', 'evaluation.heldOut=jpeg-compressibility')).stdout) as [Row, Row];
  expect(alone.reward).toBeLessThan(0);
  expect(tuned.heldOutReward).toBeCloseTo(alone.reward, 6);
  expect(tuned.heldOutError).toBeGreaterThan(0);
});

test('a reward that fails leaves nothing open', async () => {
  const failing = small.map((word) => (word === 'symmetry' ? 'http?url=http://127.0.0.1:1/score' : word));
  await expect(run(evalCommand(), ...failing)).rejects.toThrow(/127\.0\.0\.1/);
  expect(open).toBe(0);
});

test('a baseline of compare measures what eval does, and like it opens no training session', async () => {
  const config = join(folder, 'config.yaml');
  await writeFile(config, JSON.stringify({
    model: tiny, rewards: ['symmetry'], prompts: join(folder, 'prompts.txt'), samplingSteps: 2, threads: 1, size: 64,
    evaluation: { prompts: 1, images: 2, heldOut: null, features: null },
  }));
  const out = join(folder, 'baseline');
  await run(compareCommand(), 'baseline', '--config', config, '--out', out);
  const row = JSON.parse(await readFile(join(out, 'metrics.jsonl'), 'utf8')) as { evalReward: number };
  const [{ reward }] = await evaluate() as [Row];
  expect(row.evalReward).toBe(reward);
  expect(open).toBe(0);
  await expect(run(planCommand(), ...small)).rejects.toThrow('openSession, where nothing is trained');
});
