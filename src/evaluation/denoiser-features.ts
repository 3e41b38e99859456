/**
 * @file The base model's own denoiser as feature space: mean and deviation over the picture of its early activations, for the
 * image with a little noise and no prompt. Every checkpoint has it.
 */
import { host, sizeOf } from '../graph/dtype.js';
import { concat, expand, flatten } from '../graph/ops/layout.js';
import { mean, variance } from '../graph/ops/reduce.js';
import { pow } from '../graph/ops/arithmetic.js';
import { normalize } from '../graph/ops/norm.js';
import { constant, input, literal } from '../graph/tensor.js';
import { NEGATIVE, openConditions } from '../models/conditions.js';
import { encodeImages } from '../models/latents.js';
import { conditionInputs, featuresOf, latentShape, vaeScope } from '../models/pipeline.js';
import type { Pipeline } from '../models/pipeline.js';
import { frozenWeights } from '../nn/scope.js';
import { normal } from '../random/random.js';
import { inBatches } from '../rewards/rows.js';
import { compile } from '../runtime/compile.js';
import type { Executable, Execution, Feeds } from '../runtime/compile.js';
import { addNoise } from '../schedulers/forward-process.js';
import { levelAt, timeAt } from '../schedulers/process.js';
import { readSchedulerConfig } from '../schedulers/scheduler-config.js';
import type { FeatureExtractor } from './features.js';

/** What the space is called where settings name one. */
export const DENOISER_SPACE = 'unet';

/** Share of the training times below the noise that the image is given; see docs/guard.md. */
const LEVEL = 0.1;

/** Pixels that go through the network together. */
const PIXELS = 16 * 64 * 64;

export interface DenoiserFeatureOptions {
  readonly compile?: Execution;
  /** Share of the training times below the noise. */
  readonly level?: number;
}

/**
 * @param pipeline without what is trained
 * @returns images of any size that the pipeline can make → unit vectors [N, twice the channels]
 */
export function openDenoiserFeatures(pipeline: Pipeline, options: DenoiserFeatureOptions = {}): FeatureExtractor {
  const { compile: execution = {}, level: share = LEVEL } = options;
  const { process } = readSchedulerConfig(pipeline.scheduler, `${pipeline.source}: scheduler_config.json`);
  const time = timeAt(process, share);
  const level = levelAt(process, time);
  const opened = new Map<string, Promise<Opened>>();
  interface Opened {
    readonly executable: Executable<'rows'>;
    readonly none: Feeds;
  }

  async function open(batch: number, height: number, width: number): Promise<Opened> {
    const source = frozenWeights();
    const images = input('images', [batch, 3, height, width]);
    const latents = encodeImages(vaeScope(pipeline, source), pipeline.vae, images).mean;
    const [, ...shape] = latentShape(pipeline, batch, height, width);
    // The same for every image: what it adds is common to all.
    const noise = host(normal({ seed: 0, stream: 'denoiser-features', step: 0 }, 0, sizeOf(shape)), [1, ...shape]);
    const noisy = addNoise(level, latents, expand(constant(noise), latents.shape));
    const conditions = await openConditions(pipeline, {
      negativePrompt: '', guidance: pipeline.family.defaults.guidance, height, width, compile: execution,
    });
    const none = await conditions.feeds(Array<string>(batch).fill('')).finally(() => conditions.release());
    const features = featuresOf(pipeline, source)(noisy, literal(Array<number>(batch).fill(time), [batch]), conditionInputs(pipeline, batch, NEGATIVE));
    const positions = flatten(features, 2); // [B, C, positions]
    const deviation = pow(variance(positions, { axes: [2] }), 0.5);
    const rows = normalize(concat([mean(positions, { axes: [2] }), deviation], 1));
    return { executable: await compile({ outputs: { rows } }, { ...execution, weights: pipeline.weights }), none };
  }

  return {
    async images(images) {
      const [count, , height, width] = images.shape as [number, number, number, number];
      const batch = Math.min(count, Math.max(1, Math.floor(PIXELS / (height * width))));
      const key = `${batch}x${height}x${width}`;
      const running = opened.get(key) ?? open(batch, height, width);
      opened.set(key, running);
      const { executable, none } = await running;
      return inBatches(images, batch, async (rows) => (await executable.run({ ...none, images: rows })).rows);
    },
    async release() {
      for (const running of opened.values()) await (await running.catch(() => null))?.executable.release();
      opened.clear();
    },
  };
}
