/** @file Constraints by the augmented Lagrangian against closed forms, and rewards in the base model's deviations. */
import { describe, expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import { neg, square, sub } from '../../src/graph/ops/arithmetic.js';
import { mean } from '../../src/graph/ops/reduce.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { openConstraint, parseConstraint } from '../../src/rewards/constraint.js';
import { openGradient } from '../../src/rewards/gradient.js';
import { openObjective } from '../../src/rewards/objective.js';
import { parseReward } from '../../src/rewards/registry.js';
import { pixelReward, RewardSpecError } from '../../src/rewards/reward.js';
import type { DifferentiableReward } from '../../src/rewards/reward.js';
import { openScorer } from '../../src/rewards/scorer.js';
import { fixedTerm } from '../../src/rewards/terms.js';
import { sumOf } from '../../src/rewards/weighted.js';
import { checkGradient, pictures } from './helpers.js';

const pixels = (name: string, of: (x: Tensor) => Tensor): DifferentiableReward =>
  pixelReward({ name, description: '', range: [-1, 0], trace: (x) => mean(of(x), { axes: [1, 2, 3] }) });
/** Likes pixels of 0.9. */
const near = pixels('near', (x) => neg(square(sub(x, 0.9))));
/** Likes black. */
const dark = pixels('dark', (x) => neg(square(x)));
const MULTIPLIERS = { penalty: 2, rate: 0.2 };

describe('max E[r] subject to a bound on E[g]', () => {
  // r = −(x − 0.9)², g = −x² ≥ −0.25: x = 0.5, where r' = 0.8 = λ·(−g'), g' = −1, so that λ = 0.8, and 0.8·σ_g by deviation.
  const [SPREAD, GOAL] = [0.1, 0.2];
  /** Inner problems are solved, so that multipliers take up all of a violation, with a penalty that suits the dual's slope. */
  const SOLVED = { penalty: 0.05, rate: 1, inner: 30, updates: 40 };
  async function solve(text: string, { penalty = 2, rate, inner, updates }: { penalty?: number; rate: number; inner: number; updates: number }) {
    const base = { measured: { images: 64, rewards: { dark: { mean: -0.3, std: SPREAD } }, objective: { mean: 0, std: GOAL } } };
    const spec = { ...parseConstraint(text.replace('dark', 'color')), text };
    const constraint = openConstraint(spec, dark, base, { penalty, rate });
    const reward = sumOf([{ reward: near, term: fixedTerm({}) }, constraint.part]) as DifferentiableReward;
    const scorer = await openGradient(reward, [1, 3, 1, 1]);
    const x = Float32Array.of(0.1, 0.1, 0.1);
    for (let update = 0; update < updates; update++) {
      for (let step = 0; step < inner; step++) {
        const { gradient } = await scorer.run(host(x, [1, 3, 1, 1]), ['']);
        x.forEach((v, i) => (x[i] = v + 0.3 * (gradient.data as Float32Array)[i]!));
      }
      constraint.observe([-x.reduce((s, v) => s + v * v, 0) / 3]);
    }
    await scorer.release();
    return { x: x[0]!, ...constraint.state };
  }

  test.each([
    ['inner problems solved, the classical rule', SOLVED],
    ['a step of each', { rate: 0.2, inner: 1, updates: 250 }],
  ])('%s: the multiplier becomes what the closed form says, and the bound is met', async (_, how) => {
    const { x, multiplier, violation } = await solve('dark>=-0.25', how);
    expect(x).toBeCloseTo(0.5, 3);
    expect(multiplier).toBeCloseTo(0.8 * SPREAD, 3);
    expect(violation).toBeCloseTo(0, 2);
  });

  test('at most, and relative to the base model: the same place', async () => {
    // base −0.3, half a deviation (0.05) above it: −0.25
    expect((await solve('dark>=base+0.5sd', SOLVED)).x).toBeCloseTo(0.5, 3);
    expect((await solve('dark>=base+0.05', SOLVED)).x).toBeCloseTo(0.5, 3);
    // −x² at most −0.95 pulls beyond 0.9, where r would have it.
    expect((await solve('dark<=-0.95', { ...SOLVED, penalty: 0.01 })).x).toBeCloseTo(Math.sqrt(0.95), 2);
  });

  test('one that is kept costs nothing', async () => {
    const { x, multiplier } = await solve('dark>=-0.9', { rate: 0.2, inner: 1, updates: 120 });
    expect(x).toBeCloseTo(0.9, 3);
    expect(multiplier).toBe(0);
  });
});

describe('NAME>=BOUND', () => {
  test.each([
    ['self-alignment>=base', { sign: 1, bound: { plus: 0, deviations: 0 } }],
    ['color?property=red <= 0.5', { sign: -1, bound: 0.5, reward: { options: { property: 'red' } } }],
    ['symmetry>=base-0.5sd', { bound: { plus: 0, deviations: -0.5 } }],
    ['symmetry>=base + 1e-2', { bound: { plus: 0.01, deviations: 0 } }],
    ['symmetry>=-3', { bound: -3 }],
  ])('%s', (text, expected) => expect(parseConstraint(text)).toMatchObject(expected));

  test.each([
    ['symmetry', /is no constraint; write NAME/], ['symmetry>0', /is no constraint/], ['symmetry>=', /has the bound ""/],
    ['symmetry>=bass', /has the bound "bass"/], ['symmetry>=0.5sd', /has the bound "0.5sd"/], ['symmetry>=base0.5', /has the bound/],
    ['symetry>=1', /Did you mean symmetry/], ['symmetry:2>=1', /takes the reward as it is/], ['symmetry?mean=1>=1', /takes the reward as it is/],
  ])('%s is refused', (text, message) => {
    expect(() => parseConstraint(text)).toThrow(RewardSpecError);
    expect(() => parseConstraint(text)).toThrow(message);
  });
});

describe('an objective', () => {
  const images = pictures(6, 8);
  const none = Array<string>(6).fill('');
  const scoresOf = async (name: string): Promise<number[]> => [...await openScorer((await openObjective([parseReward(name)], [], { ...MULTIPLIERS, normalise: false })).judged).score(images, none)];
  const moments = (v: readonly number[]) => {
    const m = v.reduce((a, b) => a + b, 0) / v.length;
    return { m, s: Math.sqrt(v.reduce((a, b) => a + (b - m) ** 2, 0) / (v.length - 1)) };
  };

  test('in the base model\'s deviations weights mean the same, clamps are counted in them, and what has its own stays', async () => {
    const specs = ['color?property=red&min=-0.5&max=1', 'symmetry:3', 'color?property=blue&mean=0.5&std=0.25'].map(parseReward);
    const objective = await openObjective(specs, [], { ...MULTIPLIERS, normalise: true });
    const [red, symmetry, blue] = [await scoresOf('color?property=red'), await scoresOf('symmetry'), await scoresOf('color?property=blue')];
    const { parts } = await openScorer(objective.judged).scoreParts(images, none);
    expect(objective.needsBase).toBe(true);
    objective.measured(parts);
    const [r, s] = [moments(red), moments(symmetry)];
    expect(objective.base()!.images).toBe(6);
    expect(objective.base()!.rewards['symmetry']!.std).toBeCloseTo(s.s, 6);
    const expected = red.map((v, i) => Math.min(1, Math.max(-0.5, (v - r.m) / r.s)) + (3 * (symmetry[i]! - s.m)) / s.s + (blue[i]! - 0.5) / 0.25);
    const scores = await openScorer(objective.trained).score(images, none);
    scores.forEach((v, i) => expect(v).toBeCloseTo(expected[i]!, 4));
    expect(objective.base()!.objective.std).toBeCloseTo(moments(expected).s, 4);
    // Parts are told as they are.
    expect([...(await openScorer(objective.judged).scoreParts(images, none)).parts.get('symmetry')!][0]).toBeCloseTo(symmetry[0]!, 6);
    await checkGradient(objective.trained as DifferentiableReward, images, none);
    // What was measured is kept, not measured again.
    const again = await openObjective(specs, [], { ...MULTIPLIERS, normalise: true });
    again.restore(JSON.parse(JSON.stringify(objective.state())));
    expect([...await openScorer(again.trained).score(images, none)]).toEqual([...scores]);
  });

  test('a reward without deviation is refused, by name', async () => {
    const objective = await openObjective([parseReward('symmetry')], [], { ...MULTIPLIERS, normalise: true });
    expect(() => objective.measured(new Map([['symmetry', [1, 1, 1]]]))).toThrow(/Reward symmetry gives 1 to each of 3 images.*leave --normalise out/);
    const bounded = await openObjective([parseReward('symmetry')], [parseConstraint('color>=base')], { ...MULTIPLIERS, normalise: false });
    expect(() => bounded.measured(new Map([['symmetry', [1, 2]], ['color', [3, 3]]]))).toThrow(/Reward color gives 3.*cannot be constrained/);
  });

  test('multipliers follow the images of the update; what evaluations see stays the same', async () => {
    const objective = await openObjective([parseReward('color?property=red')], [parseConstraint('symmetry>=base'), parseConstraint('color?property=blue<=base')], { ...MULTIPLIERS, normalise: false });
    const scorer = openScorer(objective.judged);
    const { total, parts } = await scorer.scoreParts(images, none);
    objective.measured(parts);
    const red = await scoresOf('color?property=red');
    total.forEach((v, i) => expect(v).toBeCloseTo(red[i]!, 6));
    const { mean: m, std } = objective.base()!.rewards['symmetry']!;
    const guess = Float32Array.of(9, 9);
    const finished = Float32Array.of(1, 2);
    objective.begin();
    objective.hear!(guess, new Map([['color', Float32Array.of(5, 5)], ['symmetry', Float32Array.of(m, m)], ['color#2', Float32Array.of(0, 0)]]));
    objective.hear!(finished, new Map([['color', Float32Array.of(1, 2)], ['symmetry', Float32Array.of(m - std, m - 2 * std)], ['color#2', Float32Array.of(-9, -9)]]));
    const row = objective.after(finished); // known by itself: the guess does not count
    expect(row.reward).toBeCloseTo(1.5, 6);
    expect(row.metrics['violation/symmetry']).toBeCloseTo(1.5, 4);
    const unit = 2 * objective.base()!.objective.std;
    expect(row.metrics['multiplier/symmetry']).toBeCloseTo(0.2 * unit * 1.5, 5);
    expect(row.metrics['multiplier/color#2']).toBe(0);
    // μ = λ + ρ·S·v̄ on what is trained on, nothing on what evaluations see.
    const symmetry = parts.get('symmetry')!;
    const pulled = await openScorer(objective.trained).score(images, none);
    pulled.forEach((v, i) => expect(v).toBeCloseTo(red[i]! + (0.2 * unit * 1.5 + unit * 0.2 * 1.5) * (symmetry[i]! - m) / std, 4));
    expect([...(await scorer.score(images, none))]).toEqual([...total]);
    // The second update of a round scores nothing: multipliers stay, and the reward told is that of its images.
    const second = objective.after(Float32Array.of(7));
    expect(second.reward).toBeCloseTo(1.5, 6);
    expect(second.metrics).toEqual({ 'multiplier/symmetry': row.metrics['multiplier/symmetry'], 'multiplier/color#2': 0 });
    // Where the update's scores are put together anew, all that was scored counts.
    objective.hear!(guess, new Map([['color', Float32Array.of(5, 5)], ['symmetry', Float32Array.of(m, m)], ['color#2', Float32Array.of(0, 0)]]));
    expect(objective.after(Float32Array.of(9, 9)).reward).toBeCloseTo(5, 6);
    await checkGradient(objective.trained as DifferentiableReward, images, none);
  });
});
