/** @file From prompts and seeds to images: encoder, denoising loop and decoder of a pipeline at work. */
import { host } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { input } from '../graph/tensor.js';
import { deferred } from '../host/resources.js';
import { decodeImages } from '../models/latents.js';
import { denoiserOf, latentShape, vaeScope } from '../models/pipeline.js';
import type { Pipeline } from '../models/pipeline.js';
import { frozenWeights } from '../nn/scope.js';
import { normal } from '../random/random.js';
import { compile } from '../runtime/compile.js';
import type { Execution } from '../runtime/compile.js';
import { openDeviceCopies } from '../runtime/device-copies.js';
import type { Plan } from '../schedulers/plan.js';
import { sample } from '../schedulers/sample.js';
import type { NoiseSource } from '../schedulers/sample.js';
import { isGuided, NEGATIVE, openConditions, POSITIVE, TOGETHER } from '../models/conditions.js';
import { imageAt } from '../rewards/rows.js';
import { guidedInputs } from './guided.js';

/** The noise of a job: item i is made from seed + i alone, so that one picture of many can be made again by itself. */
export const sampleNoise = (seed: number): NoiseSource => (draw, item, count) =>
  normal({ seed: seed + item, stream: 'sample', step: draw }, 0, count);

export interface SampleJob {
  /** Image i is made of prompt i from seed + i, whatever else is made with it: the same but for rounding (docs/decisions.md). */
  readonly prompts: readonly string[];
  readonly seed: number;
  readonly negativePrompt: string;
  /** Classifier-free guidance; up to 1 is none, and calls the network half as often. */
  readonly guidance: number;
  readonly plan: Plan;
  readonly height: number;
  readonly width: number;
  /** Images made together. */
  readonly batch: number;
  readonly compile: Execution;
  /** Called after each denoising step; an error thrown here ends the sampling. */
  readonly onStep?: (done: number, total: number) => void;
}

export interface SampledImage {
  readonly index: number;
  readonly seed: number;
  readonly prompt: string;
  readonly image: HostTensor; // [3, H, W] in [0, 1]
}

/**
 * Makes a job's images, batch by batch. Sessions are closed when the generator ends or is left.
 *
 * @throws RangeError if the size is impossible; NonFiniteError if the network gives NaN or infinity
 */
export async function* sampleImages(pipeline: Pipeline, job: SampleJob): AsyncGenerator<SampledImage[]> {
  const { prompts, seed, plan, batch, guidance } = job;
  const shape = latentShape(pipeline, batch, job.height, job.width);
  const guided = isGuided(pipeline, guidance);
  const copies = job.compile.device === 'webgpu' ? openDeviceCopies((name) => name.startsWith(POSITIVE) || name.startsWith(NEGATIVE)) : undefined;
  const options = { ...job.compile, weights: pipeline.weights, checkFinite: true, copies };
  const [latents, time] = [input('latents', shape), input('timestep', [batch])];
  const output = guidedInputs(pipeline, batch, guidance).output(denoiserOf(pipeline, frozenWeights()), latents, time);
  const network = await compile({ outputs: { output } }, options);
  const images = decodeImages(vaeScope(pipeline, frozenWeights()), pipeline.vae, latents);
  const decoder = await compile({ outputs: { images } }, options).catch(async (error: unknown) => {
    await network.release();
    throw error;
  });
  const size = latents.size / batch;
  const total = Math.ceil(prompts.length / batch) * plan.steps.length;
  let done = 0;
  const stride = Math.max(1, Math.floor(TOGETHER / batch)) * batch;
  await using _ = deferred(async () => {
    await Promise.all([network.release(), decoder.release()]);
    copies?.release();
  });
  const conditions = await openConditions(pipeline, { ...job, negativePrompt: guided ? job.negativePrompt : null });
  for (let ahead = 0; ahead < prompts.length; ahead += stride) {
    const some = prompts.slice(ahead, ahead + stride);
    await conditions.prepare(some);
    for (let start = ahead; start < ahead + some.length; start += batch) {
      // The last batch is filled up with its own last image.
      const items = Array.from({ length: batch }, (_, i) => Math.min(start + i, prompts.length - 1));
      const condition = await conditions.feeds(items.map((i) => prompts[i]!));
      const x = await sample(
        async (values, step) => {
          const timestep = host(new Float32Array(batch).fill(step.timestep), [batch]);
          return (await network.run({ ...condition, latents: host(values, shape), timestep })).output.data as Float32Array;
        },
        plan, sampleNoise(seed), items, size,
        () => job.onStep?.(++done, total),
      );
      const decoded = await decoder.run({ latents: host(x, shape) });
      yield items.slice(0, prompts.length - start).map((index, i) => (
        { index, seed: seed + index, prompt: prompts[index]!, image: imageAt(decoded.images, i) }));
    }
  }
}
