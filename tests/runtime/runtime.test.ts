/** @file Equal graphs over the same weights are one session, which lives as long as one of its users. */
import { expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import { openGraphKeys } from '../../src/graph/graph-key.js';
import { add, clip, mul } from '../../src/graph/ops/arithmetic.js';
import { sum } from '../../src/graph/ops/reduce.js';
import { input, literal, weight } from '../../src/graph/tensor.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { openRuntime } from '../../src/runtime/runtime.js';

const vector = (...values: number[]) => host(Float32Array.from(values), [values.length]);
const X = { x: vector(1, 2) };
/** w·x + c, traced anew each time. */
const traced = (c = 1) => add(mul(input('x', [2]), weight('w', [2])), c);
const withSum = (y: Tensor) => ({ y, s: sum(y) });

test('a graph that is traced again is not compiled again', async () => {
  const runtime = openRuntime({ threads: 1 });
  const weights = { w: vector(3, 4) };
  const first = await runtime.compile({ y: traced() }, { weights });
  input('unrelated', [3]); // other ages of the nodes
  const second = await runtime.compile({ y: traced() }, { weights: { ...weights } });
  expect(runtime.opened).toBe(1);
  expect((await second.run(X)).y.data).toEqual(Float32Array.of(4, 9));
  await first.release();
  await first.release(); // once is enough
  expect((await second.run(X)).y.data).toEqual(Float32Array.of(4, 9));
  await second.release();
  await expect(second.run(X)).rejects.toThrow();
  const third = await runtime.compile({ y: traced() }, { weights });
  expect(runtime.opened).toBe(2);
  expect((await third.run(X)).y.data).toEqual(Float32Array.of(4, 9));
  await third.release();
});

test('what differs in a constant, a name, the weights or how it is compiled is another', async () => {
  const runtime = openRuntime({ threads: 1 });
  const weights = { w: vector(3, 4) };
  const all = [
    await runtime.compile({ y: traced() }, { weights }),
    await runtime.compile({ y: traced(2) }, { weights }),
    await runtime.compile({ z: traced() }, { weights }),
    await runtime.compile({ y: traced() }, { weights: { w: vector(3, 4) } }),
    await runtime.compile({ y: traced() }, { weights, hideShapes: true }),
    await runtime.compile(withSum(traced()), { weights }),
  ];
  expect(runtime.opened).toBe(all.length);
  for (const executable of all) await executable.release();
});

test('what could not be compiled is not remembered', async () => {
  const runtime = openRuntime({ threads: 1 });
  const wrong = { weights: { w: vector(1, 2, 3) } };
  await expect(runtime.compile({ y: traced() }, wrong)).rejects.toThrow(/input w/);
  await expect(runtime.compile({ y: traced() }, wrong)).rejects.toThrow(/input w/);
  expect(runtime.opened).toBe(2);
});

test('numbers are compared as they are', () => {
  const { of } = openGraphKeys();
  const x = input('x', [2]);
  const keys = [0, -0, NaN, Infinity, -Infinity, 1].map((v) => of({ y: mul(x, literal(v)) }));
  expect(new Set(keys).size).toBe(keys.length);
  expect(of({ y: clip(x, 0, 1) })).not.toBe(of({ y: clip(x, 0, 2) }));
  const large = (last: number) => literal(Array.from({ length: 100 }, (_, i) => (i === 99 ? last : 0)));
  expect(of({ y: large(1) })).toBe(of({ y: large(1) }));
  expect(of({ y: large(1) })).not.toBe(of({ y: large(2) }));
});
