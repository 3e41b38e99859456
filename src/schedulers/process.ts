/**
 * @file The forward process of a model: how much signal and noise its samples hold at each time, what its network
 * predicts, and what follows from the two for any level of noise.
 */
import { integers, uniform } from '../random/random.js';
import type { Key } from '../random/random.js';
import { SamplingError } from './errors.js';

/** The parts of x = signal·x0 + noise·ε. */
export interface NoiseLevel<C = number> {
  readonly signal: C;
  readonly noise: C;
}

/**
 * What the network's output estimates: the noise ε, the velocity v = signal·ε − noise·x0 of variance-preserving
 * processes (Salimans & Ho 2022), the clean sample x0, or the velocity ε − x0 of rectified flows (Liu et al. 2023).
 */
export type PredictionType = 'epsilon' | 'v' | 'sample' | 'flow';

/** x_t = √ā_t·x0 + √(1−ā_t)·ε at training times t = 0 … T−1. */
export interface VariancePreserving {
  readonly kind: 'variance-preserving';
  /** ā_t = ∏_{s≤t} (1 − β_s), float32 values. */
  readonly alphasCumprod: Float64Array;
  /** ā "before" t = 0, where the last DDIM step ends: 1, or ā_0 for Stable Diffusion. */
  readonly finalAlphaCumprod: number;
  readonly predictionType: Exclude<PredictionType, 'flow'>;
}

/** x_σ = (1−σ)·x0 + σ·ε at every σ of [0, 1], of which the network is told t = T·σ (T = 1000: Esser et al. 2024). */
export interface RectifiedFlow {
  readonly kind: 'rectified-flow';
  readonly predictionType: Exclude<PredictionType, 'v'>;
}

export type Process = VariancePreserving | RectifiedFlow;

const FLOW_TIMES = 1000;

/** T: times lie in [0, T). Variance-preserving processes were trained on the whole ones, flows on all up to T. */
export const trainingTimes = (process: Process): number =>
  process.kind === 'rectified-flow' ? FLOW_TIMES : process.alphasCumprod.length;

/** The level of variance-preserving samples with this ā. */
export const vpLevel = (alphaBar: number): NoiseLevel => ({ signal: Math.sqrt(alphaBar), noise: Math.sqrt(1 - alphaBar) });

/** The level of a rectified flow with this share σ of noise. */
export const flowLevel = (sigma: number): NoiseLevel => ({ signal: 1 - sigma, noise: sigma });

/** σ = noise/signal, linear between training times, as samplers that visit such times have it; no signal counts as 2⁻²⁴. */
export function sigmaAt({ alphasCumprod }: VariancePreserving, time: number): number {
  const trained = (t: number): number => {
    const alphaBar = alphasCumprod[t]! || 2 ** -24; // as the reference samplers, which σ = ∞ would break
    return Math.sqrt((1 - alphaBar) / alphaBar);
  };
  const below = Math.floor(time);
  const rest = time - below;
  return rest === 0 ? trained(below) : trained(below) * (1 - rest) + trained(below + 1) * rest;
}

/** ā of a ratio σ = noise/signal. */
export const alphaBarOf = (sigma: number): number => 1 / (1 + sigma * sigma);

/** The level at a time, which may lie between training times. */
export function levelAt(process: Process, time: number): NoiseLevel {
  if (process.kind === 'rectified-flow') return flowLevel(time / FLOW_TIMES);
  return vpLevel(Number.isInteger(time) ? process.alphasCumprod[time]! : alphaBarOf(sigmaAt(process, time)));
}

/** (signal/noise)² at a time of training. */
export function snrAt(process: Process, time: number): number {
  if (process.kind === 'variance-preserving' && Number.isInteger(time)) {
    const alphaBar = process.alphasCumprod[time]!;
    return alphaBar / (1 - alphaBar);
  }
  const { signal, noise } = levelAt(process, time);
  return (signal / noise) ** 2;
}

/** The time below which this share of all training times lies. */
export function timeAt(process: Process, share: number): number {
  const time = share * trainingTimes(process);
  return process.kind === 'rectified-flow' ? time : Math.floor(time);
}

/** `count` training times, each as likely; of a flow from (0, T]. */
export function randomTimes(process: Process, key: Key, item: number, count: number): number[] {
  if (process.kind === 'variance-preserving') return [...integers(key, item, count, trainingTimes(process))];
  return Array.from(uniform(key, item, count), (u) => FLOW_TIMES * (1 - u));
}

/** signal², the ā of variance-preserving levels; rounded to the float32 that tables of ā hold and graphs compute with. */
export const signalPower = ({ signal }: NoiseLevel): number => Math.fround(signal ** 2);

/**
 * The noising process between two levels: x_to = mean·x_from + std·z with fresh noise z.
 *
 * @param from the level with less noise
 */
export function bridge(from: NoiseLevel, to: NoiseLevel): { readonly mean: number; readonly std: number } {
  const mean = to.signal / from.signal;
  return { mean, std: Math.sqrt(Math.max(0, to.noise ** 2 - (mean * from.noise) ** 2)) };
}

/** A linear function x̂0 = x0FromX·x + x0FromOutput·output. */
export interface X0Coefficients<C = number> {
  readonly x0FromX: C;
  readonly x0FromOutput: C;
}

/**
 * x̂0 from a noisy sample and the network's output for it.
 *
 * @throws SamplingError if noise is predicted where there is nothing but noise.
 */
export function x0Prediction(type: PredictionType, { signal, noise }: NoiseLevel): X0Coefficients {
  if (type === 'sample') return { x0FromX: 0, x0FromOutput: 1 };
  if (type === 'v') return { x0FromX: signal, x0FromOutput: -noise };
  // x − noise·(ε − x0) = (signal + noise)·x0
  if (type === 'flow') return { x0FromX: 1 / (signal + noise), x0FromOutput: -noise / (signal + noise) };
  if (signal === 0) {
    throw new SamplingError('a model that predicts noise cannot be sampled from zero terminal SNR; ' +
      'use a schedule without rescale_betas_zero_snr, or a v-prediction model');
  }
  return { x0FromX: 1 / signal, x0FromOutput: -noise / signal };
}
