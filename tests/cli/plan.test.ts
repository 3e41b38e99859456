import { expect, test } from 'vitest';
import { planCommand } from '../../src/cli/plan.js';
import { run, scratch, smallRun } from './helpers.js';

const small = [...await smallRun(scratch()), '--batch', '1', '--steps', '10', '--json', '--quiet'];

test('a plan tells what a run will take, from the run\'s own settings', async () => {
  const plan = async (...args: string[]): Promise<Record<string, number>> =>
    JSON.parse((await run(planCommand(), ...small, ...args)).stdout) as Record<string, number>;
  const [narrow, wide] = [await plan('--set', 'lora.rank=2'), await plan('--set', 'lora.rank=4', '--batch', '2', '--microbatch', '1')];
  expect(wide['trainedNumbers']).toBe(2 * narrow['trainedNumbers']!);
  expect(wide['diskBytes']).toBe(2 * narrow['diskBytes']!);
  expect(narrow['totalSeconds']).toBeGreaterThanOrEqual(10 * narrow['secondsPerUpdate']!);
  expect(narrow).toMatchObject({ batch: 1, microbatch: 1 });
  expect(wide).toMatchObject({ batch: 2, microbatch: 1 });
  await expect(plan('--set', 'method.kk=2')).rejects.toThrow(/kk/);
});
