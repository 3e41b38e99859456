/** @file The losses of ∇-DB and RSM and their gradients by both networks, as PyTorch's autograd computes them. */
import { expect, test } from 'vitest';
import { openBalance } from '../../src/methods/detailed-balance.js';
import { nablaDb } from '../../src/methods/nabla-db.js';
import { openMatching } from '../../src/methods/rsm.js';
import { ddimStep } from '../../src/schedulers/ddim.js';
import { stepFeed } from '../../src/schedulers/step.js';
import { loadFixture, maxError } from '../models/fixture.js';
import { tinyTask } from './tiny-task.js';

const fixture = await loadFixture('nabla_losses');
const parameters = await loadFixture('method_losses');
const meta = fixture.meta as {
  prompts: string[]; steps: number[]; previous: number[]; trust: number; reverse: number; cases: Record<string, { path?: number }>;
};

test.each(Object.keys(meta.cases))('%s', async (name) => {
  const task = await tinyTask({ batch: meta.prompts.length, parameters: parameters.part('reference.') });
  for (const [key, t] of parameters.part('tuned.')) (task.parameters.get(key)!.data as Float32Array).set(t.data as Float32Array);
  const { trust, reverse } = meta;
  const balance = name === 'rsm' ? null : await openBalance(task, nablaDb.options.parse({ trust, reverse, ...meta.cases[name] }), meta.cases[name]!.path !== undefined);
  if (balance?.flow) (balance.flow.parameters.get('flow/w')!.data as Float32Array).set(fixture.get('flow').data as Float32Array);
  const steps = meta.steps.map((t, i) => ddimStep(task.process, t, meta.previous[i]!, { eta: 1, lastStep: 'ddpo' }));
  const [x, next, output, now, then] = ['x', 'next', 'output', 'rewardNow', 'rewardNext'].map((key) => fixture.get(key)) as [never, never, never, never, never];
  const last = meta.previous.map((t) => (t === 0 ? 1 : 0));
  const [carriedNow, carriedNext] = ['carriedNow', 'carriedNext'].map((key) => fixture.get(key)) as [never, never];
  const { loss: total, extras, gradients } = balance
    ? await balance.run({ indices: [], x, next, output, steps, last }, { now, next: then, carriedNow, carriedNext }, meta.prompts)
    : await (await openMatching(task, trust)).run({ x, next, output, shift: then, step: stepFeed(steps) }, meta.prompts);
  const part = fixture.part(`${name}/`);
  for (const [term, value] of [['total', total] as const, ...Object.entries(extras).map(([k, t]) => [k, Number(t.data[0])] as const)]) {
    const expected = part.get(term === 'matching' ? 'forward' : term)!.data[0] as number;
    expect(Math.abs(value - expected) / expected, term).toBeLessThan(1e-4);
  }
  const references = [...fixture.part(`${name}/grad.`)];
  expect(references.map(([key]) => key).toSorted()).toEqual([...gradients.keys()].toSorted());
  for (const [key, expected] of references) {
    const largest = Math.max(...(expected.data as Float32Array).map(Math.abs));
    expect(largest).toBeGreaterThan(0);
    expect(maxError(gradients.get(key)!, expected) / largest, `gradient by ${key}`).toBeLessThan(1e-3);
  }
});
