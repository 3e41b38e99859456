/**
 * @file Training the denoiser and its text encoder together: noise prediction (Ho et al. 2020) or velocity
 * prediction (Salimans & Ho 2022), with min-SNR weighting (Hang et al. 2023) and prompt dropout for classifier-free
 * guidance.
 */
import { host } from '../../graph/dtype.js';
import type { HostTensor } from '../../graph/dtype.js';
import { mul, square, sub } from '../../graph/ops/arithmetic.js';
import { mean } from '../../graph/ops/reduce.js';
import { input } from '../../graph/tensor.js';
import type { Tensor } from '../../graph/tensor.js';
import { clipText } from '../../models/clip-text.js';
import type { ClipTextConfig, UNetConfig } from '../../models/config.js';
import type { Tokenizer } from '../../models/tokenizer.js';
import { unet } from '../../models/unet.js';
import { rootScope, trainableWeights } from '../../nn/scope.js';
import { normal, uniform } from '../../random/random.js';
import { addNoise, predictionTarget } from '../../schedulers/forward-process.js';
import { levelAt, snrAt, timeAt } from '../../schedulers/process.js';
import type { PredictionType, Process } from '../../schedulers/process.js';
import { epochBatch, pickCaption } from './dataset.js';
import type { DatasetRecord } from './dataset.js';
import type { Trainable } from './fit.js';
import { tokenIds } from './tokens.js';

/** Prefixes of the two networks among the parameters. */
export const UNET = 'unet/';
export const TEXT_ENCODER = 'text_encoder/';

export interface DenoiserOptions {
  unet: UNetConfig;
  textEncoder: ClipTextConfig;
  /** Both networks' weights, under their prefixes. */
  parameters: Map<string, HostTensor>;
  tokenizer: Tokenizer;
  /** Scaled latents of all pictures, [N, C, h, w]. */
  latents: HostTensor;
  records: readonly DatasetRecord[];
  process: Process;
  batch: number;
  seed: number;
  /** γ of min-SNR, see `lossWeight`. */
  minSnr: number;
  /** How often the caption is replaced by the empty one. */
  promptDropout: number;
}

/**
 * The weight of the network's squared error at a noise level. Of noise: min(SNR, γ)/SNR (Hang et al. 2023), which as an
 * error of x̂0 is min(SNR, γ). Of velocity: min(SNR + 1, γ)/(SNR + 1), as an error of x̂0 min(SNR + 1, γ). The paper's
 * min(SNR, γ)/(SNR + 1) would give nothing to the highest noise, where all that can be known comes from the caption. Flows
 * count alike at every level, as they were proposed.
 */
function lossWeight(type: PredictionType, snr: number, gamma: number): number {
  if (type === 'flow') return 1;
  const clean = type === 'epsilon' ? snr : snr + 1;
  return Math.min(clean, gamma) / (type === 'sample' ? 1 : clean);
}

export function denoiser(options: DenoiserOptions): Trainable {
  const { latents, batch, seed, tokenizer, records } = options;
  const { process } = options;
  const { predictionType } = process;
  const shape = [batch, ...latents.shape.slice(1)];
  const symbols = new Map<string, Tensor>();
  const scopeOf = (prefix: string) =>
    rootScope(trainableWeights(prefix, (name, t) => symbols.set(prefix + name, t)));
  const noisy = input('noisy', shape);
  const target = input('target', shape);
  const timestep = input('timestep', [batch]);
  const ids = input('ids', [batch, tokenizer.maxLength], 'int64');
  const weight = input('weight', [batch]);
  const context = clipText(scopeOf(TEXT_ENCODER), options.textEncoder, ids).last;
  const predicted = unet(scopeOf(UNET), options.unet, { latents: noisy, timestep, context });
  const errors = mean(square(sub(predicted, target)), { axes: [1, 2, 3] }); // [B]
  const plane = latents.data.length / latents.shape[0]!;
  const all = latents.data as Float32Array;
  return {
    parameters: options.parameters,
    symbols,
    loss: mean(mul(errors, weight)),
    metrics: { mse: mean(errors) },
    feeds(step) {
      const indices = epochBatch({ seed, stream: 'denoiser-order' }, step, records.length, batch);
      const draws = uniform({ seed, stream: 'denoiser-draws', step }, 0, 3 * batch);
      const noises = normal({ seed, stream: 'denoiser-noise', step }, 0, batch * plane);
      const [x, wanted] = [new Float32Array(batch * plane), new Float32Array(batch * plane)];
      const [times, weights] = [new Float32Array(batch), new Float32Array(batch)];
      const captions: string[] = [];
      for (let i = 0; i < batch; i++) {
        const index = indices[i]!;
        // One time per batch-th of the range: less variance than independent draws.
        const t = timeAt(process, (i + draws[3 * i]!) / batch);
        const level = levelAt(process, t);
        times[i] = t;
        weights[i] = lossWeight(predictionType, snrAt(process, t), options.minSnr);
        const clean = all.subarray(index * plane, (index + 1) * plane);
        const drawn = noises.subarray(i * plane, (i + 1) * plane);
        x.set(addNoise(level, clean, drawn), i * plane);
        wanted.set(predictionTarget(predictionType, level, clean, drawn), i * plane);
        captions.push(draws[3 * i + 1]! < options.promptDropout ? '' : pickCaption(records[index]!, draws[3 * i + 2]!));
      }
      return {
        noisy: host(x, shape),
        target: host(wanted, shape),
        timestep: host(times, [batch]),
        weight: host(weights, [batch]),
        ids: tokenIds(tokenizer, captions),
      };
    },
  };
}
