import { expect, test } from 'vitest';
import type { HostTensor } from '../../src/graph/dtype.js';
import type { Task } from '../../src/methods/task.js';
import { ddim } from '../../src/schedulers/ddim.js';
import { samplers } from '../../src/schedulers/index.js';
import { combine } from '../../src/schedulers/linear.js';
import type { Plan } from '../../src/schedulers/plan.js';
import { predictX0, takeStep } from '../../src/schedulers/step.js';
import { draw } from '../../src/search/candidate.js';
import type { NoiseKey } from '../../src/search/candidate.js';
import { openExplorer } from '../../src/search/explorer.js';
import { paths, stages } from '../../src/search/paths.js';
import { tinyTask } from '../methods/tiny-task.js';

const { plan, process } = await tinyTask();
const planned = (steps: number): Plan => ddim(process, steps, {});

test('rounds go back and further on, to the end', () => {
  expect(stages({ n: 4, branches: 3 }, planned(20))).toEqual([
    { from: 4, back: 2, to: 8 }, { from: 8, back: 6, to: 12 }, { from: 12, back: 10, to: 16 },
    { from: 16, back: 14, to: 20 },
  ]);
  expect(stages({ n: 4, branches: 3, start: 1, forward: 3, backward: 4 }, planned(5))).toEqual([
    { from: 1, back: 0, to: 4 }, { from: 4, back: 1, to: 5 },
  ]);
  for (let steps = 2; steps <= 60; steps++) {
    expect(stages({ n: 1, branches: 1 }, planned(steps)).at(-1)!.to).toBe(steps);
  }
});

test('what cannot end, has no room or cannot go back is refused', () => {
  expect(() => stages({ n: 1, branches: 1, start: 4 }, plan)).toThrow(/smaller search\.start/);
  expect(() => stages({ n: 1, branches: 1, forward: 2, backward: 2 }, plan)).toThrow(/search\.backward must be more/);
  expect(() => stages({ n: 1, branches: 1 }, samplers['dpm++2m'].plan(process, 6, {}))).toThrow(/one-step sampler/);
});

/** A network whose output is known, ε = x, and the samples that were scored. */
function watched(task: Task): { task: Task; scored: HostTensor[] } {
  const scored: HostTensor[] = [];
  const score: Task['reward']['score'] = (samples, prompts) => {
    scored.push(samples);
    return task.reward.score(samples, prompts);
  };
  return { scored, task: { ...task, network: (x) => x, reward: { ...task.reward, score } } };
}

test('branches are what forward process and sampler make of their parents and of the noise in the trace', async () => {
  const { task, scored } = watched(await tinyTask({ steps: 4, batch: 2, seed: 9, eta: 1, lastStep: 'ddpo' }));
  const explorer = await openExplorer(task);
  const given = paths.options.parse({ n: 1, branches: 2, start: 2, forward: 1, backward: 2 });
  const { traces: [trace], samples } = await paths.run(explorer, given, { prompts: ['a cat'], items: [0] });
  await explorer.release();
  const { steps } = task.plan;
  expect(trace!.map(({ round, steps: done }) => [round, done])).toEqual([[0, 3], [0, 3], [1, 4], [1, 4]]);

  /** The known network's steps from `from` to `to`. */
  const denoise = (x: Float32Array, from: number, to: number, key: NoiseKey) => {
    let [at, clean] = [x, x];
    for (let i = from; i < to; i++) {
      const next = takeStep(steps[i]!, at, at, { noise: draw(key, i + 1, 12) });
      [clean, at] = [predictX0(steps[i]!, at, at), next];
    }
    return { at, clean };
  };
  const back = (x: Float32Array, from: number, to: number, key: NoiseKey): Float32Array => {
    const kept = (steps[to]!.from.signal / steps[from - 1]!.to.signal) ** 2;
    return combine([Math.sqrt(kept), x], [Math.sqrt(1 - kept), draw(key, 0, 12)]);
  };
  const root = { seed: 9, stream: 'sample', item: 0 };
  const start = denoise(draw(root, 0, 12), 0, 2, root).at;
  const first = trace!.slice(0, 2).map(({ noise }) => denoise(back(start, 2, 1, noise!), 1, 3, noise!));
  first.forEach(({ clean }, i) => expectClose(scored[0]!, i, clean));
  const best = trace![0]!.score > trace![1]!.score ? 0 : 1;
  expect(trace!.slice(2).map((t) => t.parent)).toEqual([trace![best]!.candidate, trace![best]!.candidate]);
  const last = trace!.slice(2).map(({ noise }) => denoise(back(first[best]!.at, 3, 2, noise!), 2, 4, noise!));
  last.forEach(({ at }, i) => expectClose(scored[1]!, i, at));
  expectClose(samples, 0, last[trace![2]!.score >= trace![3]!.score ? 0 : 1]!.at);
});

function expectClose(samples: HostTensor, row: number, wanted: Float32Array): void {
  const own = Array.from((samples.data as Float32Array).subarray(row * 12, (row + 1) * 12));
  expect(own).toEqual([...wanted].map((v) => expect.closeTo(v, 4) as number));
}
