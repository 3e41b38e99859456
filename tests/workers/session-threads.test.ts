/** @file Sessions in worker threads: the same numbers as here, several at once, weights kept once, and errors that arrive. */
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, describe, expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import { add, tanh } from '../../src/graph/ops/arithmetic.js';
import { matmul } from '../../src/graph/ops/matmul.js';
import { input, weight } from '../../src/graph/tensor.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { atOnce, cutsOf } from '../../src/methods/work.js';
import { normal } from '../../src/random/random.js';
import { compile } from '../../src/runtime/compile.js';
import { openSessionThreads } from '../../src/workers/session-threads.js';

const pool = openSessionThreads(2);
afterAll(pool.release);

const square = (name: string, n: number) => host(normal({ seed: 1, stream: name, step: 0 }, 0, n * n).map((v) => v / Math.sqrt(n)), [n, n]);

/** y = tanh(…tanh(x·w)…·w), `depth` times. */
function chain(n: number, depth: number): { y: Tensor } {
  const w = weight('w', [n, n]);
  let y: Tensor = input('x', [n, n]);
  for (let i = 0; i < depth; i++) y = tanh(matmul(y, w));
  return { y };
}

test('several runs at once give what one run here gives, of weights that are part of a larger array', async () => {
  const n = 24;
  const larger = normal({ seed: 1, stream: 'w', step: 0 }, 0, 3 * n * n);
  const weights = { w: host(larger.subarray(n * n, 2 * n * n), [n, n]) };
  const here = await compile({ outputs: chain(n, 3) }, { threads: 1, weights });
  const there = await compile({ outputs: chain(n, 3) }, { threads: 1, weights, pool });
  const feeds = Array.from({ length: 5 }, (_, i) => ({ x: square(`x${i}`, n) }));
  const together = await Promise.all(feeds.map((f) => there.run(f)));
  for (const [i, f] of feeds.entries()) expect(together[i]).toEqual(await here.run(f));
  expect(feeds[0]!.x.data, 'feeds are still ours').toHaveLength(n * n);
  await Promise.all([here.release(), there.release()]);
});

test('two sessions over the same weights, released in either order, and the weights given again', async () => {
  const weights = { w: square('w', 8) };
  const x = square('x', 8);
  const open = (depth: number) => compile({ outputs: chain(8, depth) }, { threads: 1, weights, pool });
  const [one, two] = await Promise.all([open(1), open(2)]);
  const expected = await two.run({ x });
  await one.release();
  expect(await two.run({ x })).toEqual(expected);
  await two.release();
  await two.release();
  const again = await open(2);
  expect(await again.run({ x })).toEqual(expected);
  await again.release();
});

test('this thread is free while workers compute', async () => {
  const n = 400;
  const slow = await compile({ outputs: chain(n, 60) }, { threads: 1, weights: { w: square('w', n) }, pool });
  let over = false;
  const run = slow.run({ x: square('x', n) }).then(() => (over = true));
  await wait(1);
  await wait(1);
  expect(over, 'a timer was heard before the run was over').toBe(false);
  await run;
  await slow.release();
});

test('an error in a worker is told, and the worker goes on', async () => {
  const session = await pool.open(new Uint8Array([1, 2, 3]), {}, new Map()).catch((error: unknown) => error);
  expect(session).toBeInstanceOf(Error);
  const fine = await compile({ outputs: { y: add(input('x', [1]), 1) } }, { pool });
  await expect(fine.run({ x: host(Float32Array.of(1), [1]) })).resolves.toMatchObject({ y: { data: Float32Array.of(2) } });
  await fine.release();
});

test('workers that have ended say so instead of leaving the run to wait', async () => {
  const short = openSessionThreads(2);
  const session = await compile({ outputs: { y: add(input('x', [1]), 1) } }, { pool: short });
  await short.release();
  await expect(session.run({ x: host(Float32Array.of(1), [1]) })).rejects.toThrow(/worker \d ended/);
});

describe('cuts at once', () => {
  test('no more than so many; all are taken', async () => {
    let [now, most] = [0, 0];
    const taken: number[] = [];
    await atOnce(3)(cutsOf(10, 1), async ({ index }) => {
      most = Math.max(most, ++now);
      await wait((10 - index) % 4);
      now -= 1;
      return index;
    }, (cut, result) => taken.push(cut.index === result ? result : -1));
    expect(most).toBe(3);
    expect(taken.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  test('a failure is thrown once those under way are over, and no other is begun', async () => {
    const begun: number[] = [];
    let over = 0;
    const all = atOnce(2)(cutsOf(6, 1), async ({ index }) => {
      begun.push(index);
      if (index === 0) throw new Error('the first');
      await wait(5);
      over += 1;
    }, () => {});
    await expect(all).rejects.toThrow('the first');
    expect(begun).toEqual([0, 1]);
    expect(over).toBe(1);
  });
});
