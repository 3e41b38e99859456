/** @file What each method does unless told otherwise, and how it has trajectories sampled: a default that moves is a decision. */
import { expect, test } from 'vitest';
import { METHODS } from '../../src/methods/index.js';

const ODE = { noise: 0, noisyEnd: false };
/** Fresh noise in every step, the last one's deviation being no zero. */
const DENSITIES = { noise: 1, noisyEnd: true };
const pairs = { n: 3, m: 3, gridSteps: 25, detach: false };
const chains = { smoothing: 1, smoothingNoise: 0.05, subsampling: 'stratified', updates: 1, lag: false };
const groups = { group: 8, deviation: 'round', advantageClip: 5 };

const DEFAULTS: Readonly<Record<string, readonly [options: object, sampling: object]>> = {
  draft: [{ k: 1 }, ODE],
  'draft-lv': [{ n: 2, ownGradient: true }, ODE],
  refl: [{ window: 0.25, ceiling: null, scale: 1, pretrain: null }, { noise: 1, noisyEnd: false }],
  alignprop: [{ truncation: 'gaussian', mean: 0.84, deviation: 0.1, target: null, scale: 1 }, { noise: 1, noisyEnd: false }],
  drtune: [{ k: 3, earlyStop: 0.4, ceiling: null }, ODE],
  'flowbp-sparse': [{ k: 4, late: 2, ceiling: null }, ODE],
  srpo: [{
    better: ['a photo of', 'realistic,', 'natural light,'], worse: ['a computer rendering of', 'oily skin,', 'oversaturated,'],
    leap: 0.1, from: 0.5, to: 0.9, threshold: null, kappa: [0.1, 0.25], kappaInverse: [0.3, 0.01], inverse: true,
  }, ODE],
  'nabla-db': [{
    beta: 1e3, gamma: 'alpha-bar', reverse: 1, reverseGradient: 'flow-only', flow: true, flowGradient: 'reverse', path: 0.5, flowLr: 1e-3,
    flowWeightDecay: 1e-2, guess: 'tuned', weighting: 'score', priorStrength: 1, residual: true, trust: 1e3, fraction: 0.1, ...chains,
  }, DENSITIES],
  rsm: [{ beta: 5e5, trust: 100, fraction: 0.2, ...chains }, DENSITIES],
  'adjoint-matching': [{ lambda: 100, form: 'score', trained: 4, quantile: 0.9 }, { noise: 1, noisyEnd: false }],
  ddpo: [{
    variant: 'is', rollouts: 2, updates: null, innerEpochs: 1, timestepFraction: 1, clip: 1e-4, advantageClip: 5, perPrompt: { buffer: 16, minCount: 16 },
  }, DENSITIES],
  grpo: [{
    ...groups, updates: 2, clip: 1e-4, ratio: 'plain', kl: 1e-3, klKind: 'output', timestepFraction: 1, window: null, sameNoise: false,
  }, DENSITIES],
  nft: [{ ...groups, beta: 1, kl: 1e-4, times: null, selfNormalise: true, decay: 1e-3, decayMax: 0.5 }, ODE],
  awm: [{ ...groups, weighting: 'ghuber', power: 0.25, times: 6, kl: 1e-3, averageKl: 1, averageDecay: 0.3 }, ODE],
  d3po: [{ beta: 0.1, epsilon: 0.1, innerEpochs: 1, timestepFraction: 1 }, DENSITIES],
  dpo: [{ pairs: null, beta: 5000, samples: 2, from: 'reference', updates: 1, emptyPrompts: 0.2 }, ODE],
  'sharpen-sft': [{ ...pairs, pictures: null, emptyPrompts: 0.2 }, ODE],
  'sharpen-rlhf': [{ ...pairs, beta: 2500, modulation: 'inside', gapScale: 'deviation', reference: 'every', guided: false }, ODE],
};

test('every method has its row', () => {
  expect(METHODS.map((m) => m.name).toSorted()).toEqual(Object.keys(DEFAULTS).toSorted());
});

test.each(METHODS.map((m) => [m.name, m] as const))('%s', (name, method) => {
  const [options, sampling] = DEFAULTS[name]!;
  expect(method.options.parse({})).toEqual(options);
  expect(method.sampling).toEqual(sampling);
  const gradients = ['draft', 'draft-lv', 'refl', 'alignprop', 'drtune', 'flowbp-sparse', 'srpo', 'nabla-db', 'rsm', 'adjoint-matching'];
  expect(method.needs).toEqual({
    differentiableReward: gradients.includes(name),
    density: ['nabla-db', 'rsm', 'adjoint-matching', 'ddpo', 'grpo', 'd3po'].includes(name),
  });
});
