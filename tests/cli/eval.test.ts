import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { evalCommand } from '../../src/cli/eval.js';
import { planCommand } from '../../src/cli/plan.js';
import { readLora, writeLora } from '../../src/formats/lora-file.js';
import { GUIDANCE_NOTE } from '../../src/sampling/defaults.js';
import { fixtures, run, scratch, tiny } from './helpers.js';

const folder = scratch();
const kohya = join(fixtures, 'lora_sd1_kohya.safetensors');
const prompts = join(folder, 'prompts.txt');
const small = [
  '--model', tiny, '--reward', 'symmetry', '--prompts', prompts, '--sampling-steps', '2', '--threads', '1',
  '--set', 'size=64', '--set', 'evaluation.prompts=1', '--set', 'evaluation.images=2', '--json', '--quiet',
];
await writeFile(prompts, 'a cat\n');

interface Row {
  model: string;
  reward: number;
  diversity: number;
  frechet: number;
}

const evaluate = async (...args: string[]): Promise<Row[]> =>
  JSON.parse((await run(evalCommand(), ...small, ...args)).stdout) as Row[];

test('a LoRA is measured beside its base model, at its strength', async () => {
  const alone = await evaluate();
  const [base, tuned] = await evaluate('--lora', kohya) as [Row, Row];
  const [, off] = await evaluate('--lora', `${kohya}:0`) as [Row, Row];
  expect(alone).toEqual([base]);
  expect(base).toMatchObject({ model: tiny, frechet: 0 });
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

test('a plan tells what a run will take, from the run\'s own settings', async () => {
  const plan = async (...args: string[]): Promise<Record<string, number>> =>
    JSON.parse((await run(planCommand(), ...small, '--batch', '1', '--steps', '10', ...args)).stdout) as Record<string, number>;
  const [narrow, wide] = [await plan('--set', 'lora.rank=2'), await plan('--set', 'lora.rank=4')];
  expect(wide['trainedNumbers']).toBe(2 * narrow['trainedNumbers']!);
  expect(wide['diskBytes']).toBe(2 * narrow['diskBytes']!);
  expect(narrow['totalSeconds']).toBeGreaterThanOrEqual(10 * narrow['secondsPerUpdate']!);
  await expect(plan('--set', 'method.kk=2')).rejects.toThrow(/kk/);
});
