/**
 * @file `self-alignment`: how much better a model denoises an image when it is told the prompt. Every checkpoint can judge
 * images so, with nothing beside it:
 *
 * Σ_t w_t · mean_{CHW} (‖ε − ε̂(x_t, t, ∅)‖² − ‖ε − ε̂(x_t, t, c)‖²), x_t = signal·x0 + noise·ε
 *
 * with x0 the VAE's mean of the image. It is the model's own evidence for the prompt, an estimate of log p(x0|c) − log p(x0)
 * (Li et al., arXiv 2303.16203, use the conditional half of it to classify). Whatever the network predicts, its error is
 * counted as that of the noise that follows from it, so that levels weigh alike in all models.
 */
import { host, sizeOf } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { add, mul, square, sub } from '../graph/ops/arithmetic.js';
import { concat, flatten, narrow } from '../graph/ops/layout.js';
import { mean } from '../graph/ops/reduce.js';
import { input, literal } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import { NEGATIVE, openConditions, POSITIVE } from '../models/conditions.js';
import type { Conditions } from '../models/conditions.js';
import { joinConditions } from '../models/denoiser.js';
import type { Denoiser } from '../models/denoiser.js';
import { encodeImages } from '../models/latents.js';
import { conditionInputs, denoiserOf, latentShape, vaeScope } from '../models/pipeline.js';
import type { Pipeline } from '../models/pipeline.js';
import { frozenWeights } from '../nn/scope.js';
import { normal } from '../random/random.js';
import { compile } from '../runtime/compile.js';
import type { Executable, Execution, Feeds } from '../runtime/compile.js';
import { addNoise, predictionTarget } from '../schedulers/forward-process.js';
import { levelAt, timeAt, x0Prediction } from '../schedulers/process.js';
import type { NoiseLevel, PredictionType } from '../schedulers/process.js';
import { readSchedulerConfig } from '../schedulers/scheduler-config.js';
import type { DifferentiableReward } from './reward.js';
import { takeRows } from './rows.js';

/** A level of noise that is looked at. */
export interface Look {
  /** Share of the training times that lie below it. */
  readonly level: number;
  readonly weight: number;
}

export interface SelfAlignmentOptions {
  readonly compile?: Execution;
  readonly looks?: readonly Look[];
  /** Noises at each level. */
  readonly noises?: number;
}

/** One noise at each: chosen by what tells hacked runs from others soonest for the least calls (docs/guard.md). */
const LOOKS: readonly Look[] = [{ level: 0.7, weight: 1 / 3 }, { level: 0.85, weight: 2 / 3 }];

/** Pixels that are scored together; the network sees each twice. */
const PIXELS = 16 * 64 * 64;

/** A look as numbers for the graph. */
interface Mixture extends NoiseLevel {
  readonly time: number;
  /** From the squared error of the network's output to its share in the score. */
  readonly scale: number;
}

/** What one look at a batch reads beside the latents. */
interface LookInputs {
  readonly noise: Tensor; // [B, C, h, w]
  readonly level: NoiseLevel<number | Tensor>;
  readonly timestep: Tensor; // [B]
  readonly scale: number | Tensor;
}

type Gain = (latents: Tensor, look: LookInputs) => Tensor;

function mixtures(pipeline: Pipeline, looks: readonly Look[]): { predictionType: PredictionType; mixtures: Mixture[] } {
  const { process } = readSchedulerConfig(pipeline.scheduler, `${pipeline.source}: scheduler_config.json`);
  const { predictionType } = process;
  return {
    predictionType,
    mixtures: looks.map(({ level: share, weight }) => {
      const time = timeAt(process, share);
      const level = levelAt(process, time);
      // ε̂ = (x − signal·x̂0) / noise
      const ofNoise = (x0Prediction(predictionType, level).x0FromOutput * level.signal) / level.noise;
      return { ...level, time, scale: weight * ofNoise ** 2 };
    }),
  };
}

/** The noise of a look: of the prompt, so that the same images are judged alike whenever and beside whatever they are. */
const noiseOf = (prompt: string, time: number, draw: number, count: number): Float32Array =>
  normal({ seed: 0, stream: `self-alignment/${prompt}`, step: draw }, Math.round(time), count);

/** [B, C, h, w] */
function noises(prompts: readonly string[], time: number, draw: number, sampleShape: readonly number[]): HostTensor {
  const size = sizeOf(sampleShape);
  const data = new Float32Array(prompts.length * size);
  const made = new Map<string, Float32Array>();
  prompts.forEach((prompt, i) => {
    const noise = made.get(prompt) ?? noiseOf(prompt, time, draw, size);
    made.set(prompt, noise);
    data.set(noise, i * size);
  });
  return host(data, [prompts.length, ...sampleShape]);
}

/**
 * The pipeline as judge of images of the prompts, of any size that it can make.
 *
 * @param label names the reward and its graph inputs
 * @param pipeline without what is trained: judged by a model that changes with it, everything is well aligned
 */
export function selfAlignment(label: string, pipeline: Pipeline, options: SelfAlignmentOptions = {}): DifferentiableReward {
  const { compile: execution = {}, looks = LOOKS, noises: draws = 1 } = options;
  const { predictionType, mixtures: levels } = mixtures(pipeline, looks);
  const opened = new Map<string, ReturnType<typeof openConditions>>();
  const compiled = new Map<string, Promise<{ encoder: Executable<'latents'>; gain: Executable<'gain'> }>>();
  const traced = new Map<string, readonly [height: number, width: number]>();
  const networks = (prefix: string) => {
    const source = frozenWeights(prefix);
    const denoiser = denoiserOf(pipeline, source);
    return { denoiser, encode: (images: Tensor): Tensor => encodeImages(vaeScope(pipeline, source), pipeline.vae, images).mean };
  };
  // In graphs of others there may be another model's weights by the same names.
  const [own, guest] = [networks(''), networks(`${label}/`)];

  const conditionsFor = (height: number, width: number): Promise<Conditions> => {
    const key = `${height}x${width}`;
    const known = opened.get(key) ?? openConditions(pipeline, {
      negativePrompt: '', guidance: pipeline.family.defaults.guidance, height, width, compile: execution,
    });
    opened.set(key, known);
    return known;
  };

  /** How much smaller the error is with the prompt, of B images, [B]. */
  const gainFor = (denoiser: Denoiser, batch: number, prefix: string): Gain => {
    const conditions = joinConditions(...[NEGATIVE, POSITIVE].map((which) => conditionInputs(pipeline, batch, prefix + which)) as [never, never]);
    return (latents, { noise, level, timestep, scale }) => {
      const twice = (t: Tensor): Tensor => concat([t, t], 0);
      const output = denoiser(twice(addNoise(level, latents, noise)), twice(timestep), conditions);
      const target = twice(predictionTarget(predictionType, level, latents, noise));
      const error = mean(flatten(square(sub(target, output))), { axes: [1] }); // [2B]
      return mul(sub(narrow(error, 0, 0, batch), narrow(error, 0, batch, 2 * batch)), scale);
    };
  };

  const sampleShapeFor = (height: number, width: number): readonly number[] => latentShape(pipeline, 1, height, width).slice(1);

  const open = async (batch: number, height: number, width: number) => {
    const [latents, noise] = ['latents', 'noise'].map((name) => input(name, [batch, ...sampleShapeFor(height, width)])) as [Tensor, Tensor];
    const [signal, sigma] = ['signal', 'sigma'].map((name) => input(name, [1, 1, 1, 1])) as [Tensor, Tensor];
    const gain = gainFor(own.denoiser, batch, '')(latents, {
      noise, level: { signal, noise: sigma }, timestep: input('timestep', [batch]), scale: input('scale', [1]),
    });
    const how = { ...execution, weights: pipeline.weights };
    const encoder = await compile({ outputs: { latents: own.encode(input('images', [batch, 3, height, width])) } }, how);
    try {
      return { encoder, gain: await compile({ outputs: { gain } }, how) };
    } catch (error) {
      await encoder.release();
      throw error;
    }
  };

  return {
    name: label,
    description: 'how much better the base model denoises the image with its prompt than without',
    range: [-0.1, 0.5],
    differentiable: true,
    weights: new Map([...pipeline.weights].map(([name, value]) => [`${label}/${name}`, value])),
    trace(images) {
      const [batch, , height, width] = images.shape as [number, number, number, number];
      const size = `${height}x${width}`;
      traced.set(size, [height, width]);
      const latents = guest.encode(images);
      const gain = gainFor(guest.denoiser, batch, `${label}/${size}/`);
      const parts = levels.flatMap(({ time, scale, ...level }, k) => Array.from({ length: draws }, (_, draw) => gain(latents, {
        noise: input(`${label}/${size}/noise${k}.${draw}`, latents.shape), level, timestep: literal(Array<number>(batch).fill(time), [batch]),
        scale: scale / draws,
      })));
      return parts.reduce(add);
    },
    async feeds(prompts) {
      const all: Record<string, HostTensor> = {};
      for (const [size, [height, width]] of traced) {
        const told = await (await conditionsFor(height, width)).feeds(prompts);
        for (const [name, value] of Object.entries(told)) all[`${label}/${size}/${name}`] = value;
        const shape = sampleShapeFor(height, width);
        levels.forEach(({ time }, k) => {
          for (let draw = 0; draw < draws; draw++) all[`${label}/${size}/noise${k}.${draw}`] = noises(prompts, time, draw, shape);
        });
      }
      return all as Feeds;
    },
    async score(images, prompts) {
      const [, , height, width] = images.shape as [number, number, number, number];
      const batch = Math.min(prompts.length, Math.max(1, Math.floor(PIXELS / (height * width))));
      const key = `${batch}x${height}x${width}`;
      const running = compiled.get(key) ?? open(batch, height, width);
      compiled.set(key, running);
      const { encoder, gain } = await running;
      const conditions = await conditionsFor(height, width);
      const scores = new Float32Array(prompts.length);
      for (let start = 0; start < prompts.length; start += batch) {
        const some = Array.from({ length: batch }, (_, i) => prompts[Math.min(start + i, prompts.length - 1)]!);
        const { latents } = await encoder.run({ images: takeRows(images, start, batch) });
        const told = await conditions.feeds(some);
        const total = new Float64Array(batch);
        for (const { time, signal, noise, scale } of levels) {
          for (let draw = 0; draw < draws; draw++) {
            const result = await gain.run({
              ...told, latents, noise: noises(some, time, draw, latents.shape.slice(1)),
              signal: host(Float32Array.of(signal), [1, 1, 1, 1]), sigma: host(Float32Array.of(noise), [1, 1, 1, 1]),
              timestep: host(new Float32Array(batch).fill(time), [batch]), scale: host(Float32Array.of(scale / draws), [1]),
            });
            (result.gain.data as Float32Array).forEach((v, i) => (total[i]! += v));
          }
        }
        scores.set(Float32Array.from(total).subarray(0, Math.min(batch, prompts.length - start)), start);
      }
      return scores;
    },
    async release() {
      for (const running of compiled.values()) {
        const both = await running.catch(() => null);
        await both?.encoder.release();
        await both?.gain.release();
      }
      for (const conditions of opened.values()) await (await conditions.catch(() => null))?.release();
      compiled.clear();
      opened.clear();
    },
  };
}
