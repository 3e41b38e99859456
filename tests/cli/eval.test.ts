import { join } from 'node:path';
import { expect, test } from 'vitest';
import { evalCommand } from '../../src/cli/eval.js';
import { readLora, writeLora } from '../../src/formats/lora-file.js';
import { GUIDANCE_NOTE } from '../../src/sampling/defaults.js';
import { fixtures, run, scratch, smallRun, tiny } from './helpers.js';

const folder = scratch();
const kohya = join(fixtures, 'lora_sd1_kohya.safetensors');
const small = [...await smallRun(folder), '--json', '--quiet'];

interface Row {
  model: string;
  reward: number;
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
