import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import type { HostTensor } from '../../src/graph/dtype.js';
import { host } from '../../src/graph/dtype.js';
import { input } from '../../src/graph/tensor.js';
import { encodeImages } from '../../src/models/latents.js';
import { loadPipeline } from '../../src/loading/load.js';
import { conditionInputs, denoiserOf, vaeScope } from '../../src/models/pipeline.js';
import type { Pipeline } from '../../src/models/pipeline.js';
import { frozenWeights } from '../../src/nn/scope.js';
import { openRewards, parseReward } from '../../src/rewards/registry.js';
import type { DifferentiableReward } from '../../src/rewards/reward.js';
import { openScorer } from '../../src/rewards/scorer.js';
import { selfAlignment } from '../../src/rewards/self-alignment.js';
import { compile } from '../../src/runtime/compile.js';
import { openGradient } from '../../src/rewards/gradient.js';
import { checkGradient, pictures } from './helpers.js';

const pipeline = await loadPipeline(fileURLToPath(new URL('../fixtures/pipeline_sd1', import.meta.url)));
const predicting = (prediction: string): Pipeline => ({ ...pipeline, scheduler: { ...pipeline.scheduler, prediction_type: prediction } });
const how = { compile: { threads: 1 } };
const PROMPTS = ['a cat', 'a dog'];
const SIZE = 32;
const images = pictures(2, SIZE);
const opened: DifferentiableReward[] = [];
afterAll(() => Promise.all(opened.map((r) => r.release!())));
const judge = (of: Pipeline, options = {}): DifferentiableReward => {
  const reward = selfAlignment('self', of, { ...how, ...options });
  opened.push(reward);
  return reward;
};

const compiled = async () => {
  const [x, t, pixels] = [input('x', [1, 4, SIZE / 8, SIZE / 8]), input('t', [1]), input('pixels', [1, 3, SIZE, SIZE])];
  const output = denoiserOf(pipeline, frozenWeights())(x, t, conditionInputs(pipeline, 1, ''));
  const latents = encodeImages(vaeScope(pipeline, frozenWeights()), pipeline.vae, pixels).mean;
  const weights = { threads: 1, weights: pipeline.weights };
  return { network: await compile({ outputs: { output } }, weights), encoder: await compile({ outputs: { latents } }, weights) };
};
const plain = compiled();
afterAll(async () => Promise.all(Object.values(await plain).map((e) => e.release())));
const row = ({ data, shape }: HostTensor, i: number): HostTensor => {
  const size = data.length / shape[0]!;
  return host((data as Float32Array).slice(i * size, (i + 1) * size), [1, ...shape.slice(1)]);
};

test.each(['epsilon', 'v_prediction'])('is the error of the noise without the prompt less that with it, of a model that predicts %s', async (prediction) => {
  const reward = judge(predicting(prediction), { looks: [{ level: 0.3, weight: 0.25 }, { level: 0.8, weight: 2 }], noises: 2 });
  const scores = await reward.score!(images, PROMPTS);
  reward.trace(input('images', images.shape));
  const feeds = await reward.feeds(PROMPTS);
  const { network, encoder } = await plain;
  const betas = Array.from({ length: 1000 }, (_, t) => (Math.sqrt(0.00085) + (t / 999) * (Math.sqrt(0.012) - Math.sqrt(0.00085))) ** 2);
  for (const [i, score] of scores.entries()) {
    const { latents } = await encoder.run({ pixels: row(images, i) });
    let expected = 0;
    for (const [k, [time, weight]] of ([[300, 0.25], [800, 2]] as const).entries()) {
      const alphaBar = betas.slice(0, time + 1).reduce((product, b) => product * (1 - b), 1);
      const [signal, sigma] = [Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)];
      for (let draw = 0; draw < 2; draw++) {
        const noise = row(feeds[`self/32x32/noise${k}.${draw}`]!, i).data as Float32Array;
        const x = noise.map((n, j) => signal * (latents.data[j] as number) + sigma * n);
        const errors: number[] = [];
        for (const which of ['negative', 'condition']) {
          const context = row(feeds[`self/32x32/${which}/context`]!, i);
          const { output } = await network.run({ x: host(x, latents.shape), t: host(Float32Array.of(time), [1]), context });
          const guess = (output.data as Float32Array).map((o, j) => ({
            epsilon: o, v_prediction: signal * o + sigma * x[j]!,
          })[prediction]!);
          errors.push(guess.reduce((sum, g, j) => sum + (g - noise[j]!) ** 2, 0) / guess.length);
        }
        expected += (weight / 2) * (errors[0]! - errors[1]!);
      }
    }
    expect(score / expected).toBeCloseTo(1, 3);
  }
}, 120_000);

test('a score is that of its own image and prompt, whatever stands beside it; the graph has the same, and its gradient', async () => {
  const reward = judge(pipeline, { looks: [{ level: 0.9, weight: 1000 }] });
  // Small differences of large errors, in float32.
  const scorer = openScorer(reward);
  const both = await scorer.score(images, PROMPTS);
  const [second] = await scorer.score(row(images, 1), ['a dog']);
  expect(both[1]! / second!).toBeCloseTo(1, 2);
  expect(new Set(both).size).toBe(2);
  const graph = await openGradient(reward, [2, 3, SIZE, SIZE], { threads: 1 });
  const { score } = await graph.run(images, PROMPTS);
  score.forEach((s, i) => expect(s / both[i]!).toBeCloseTo(1, 2));
  await graph.release();
  await checkGradient(reward, images, PROMPTS, { step: 1e-2 });
}, 120_000);

test('opens by its name where there is a model, and says what is missing where there is none', async () => {
  const reward = await openRewards([parseReward('self-alignment')], { base: async () => pipeline, ...how });
  expect(reward.name).toBe('self-alignment');
  opened.push(reward as DifferentiableReward);
  await expect(openRewards([parseReward('self-alignment')])).rejects.toThrow(/judgement of the model that the images are for, and none is at hand/);
});
