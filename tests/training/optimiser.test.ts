import { expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { initAdamW, updateAdamW } from '../../src/training/adamw.js';
import { updateEma } from '../../src/training/ema.js';
import { learningRate } from '../../src/training/learning-rate.js';
import { clipNorm, globalNorm } from '../../src/training/parameters.js';

const one = (...values: number[]): Map<string, HostTensor> => new Map([['w', host(Float32Array.from(values), [values.length])]]);
const of = (map: ReadonlyMap<string, HostTensor>): number[] => Array.from(map.get('w')!.data as Float32Array);

test('AdamW follows torch.optim.AdamW', () => {
  // torch 2.15: p = [1, -2, 0.5], grads [0.1, -0.2, 0.3] then [0.4, 0.1, -0.1], lr 0.1, betas (0.9, 0.99), wd 0.01
  const p = one(1, -2, 0.5);
  const state = initAdamW(p);
  const options = { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.01 };
  updateAdamW(p, one(0.1, -0.2, 0.3), state, 0.1, options);
  const first = [1 * 0.999 - 0.1, -2 * 0.999 + 0.1, 0.5 * 0.999 - 0.1]; // m̂/√v̂ is the sign at the first step
  of(p).forEach((v, i) => expect(v).toBeCloseTo(first[i]!, 5));
  updateAdamW(p, one(0.4, 0.1, -0.1), state, 0.1, options);
  const grads = [[0.1, 0.4], [-0.2, 0.1], [0.3, -0.1]];
  grads.forEach(([a, b], i) => {
    const m = (0.9 * 0.1 * a! + 0.1 * b!) / (1 - 0.81);
    const v = (0.99 * 0.01 * a! * a! + 0.01 * b! * b!) / (1 - 0.9801);
    expect(of(p)[i]).toBeCloseTo(first[i]! * 0.999 - (0.1 * m) / (Math.sqrt(v) + 1e-8), 5);
  });
  expect(state.step).toBe(2);
});

test('clipping keeps the direction and reports the norm before', () => {
  const g = one(3, 4);
  expect(clipNorm(g, 1)).toBe(5);
  expect(globalNorm(g)).toBeCloseTo(1, 6);
  expect(of(g)[1]! / of(g)[0]!).toBeCloseTo(4 / 3, 6);
  expect(clipNorm(one(0.3, 0.4), 1)).toBeCloseTo(0.5, 6);
});

test('the average forgets the start and then follows slowly', () => {
  const average = one(10);
  updateEma(average, one(0), 0.999, 0);
  expect(of(average)[0]).toBeCloseTo(1, 6); // decay (1 + 0)/(10 + 0)
  updateEma(average, one(0), 0.5, 1000);
  expect(of(average)[0]).toBeCloseTo(0.5, 6);
});

test('schedules warm up, hold, and end at zero', () => {
  expect(learningRate(1, 0, 100, 'constant', 10)).toBeCloseTo(0.1);
  expect(learningRate(1, 9, 100, 'constant', 10)).toBe(1);
  expect(learningRate(1, 99, 100, 'constant', 10)).toBe(1);
  expect(learningRate(2, 55, 100, 'cosine', 10)).toBeCloseTo(1);
  expect(learningRate(2, 100, 100, 'cosine', 10)).toBeCloseTo(0);
  expect(learningRate(2, 55, 100, 'linear', 10)).toBeCloseTo(1);
});
