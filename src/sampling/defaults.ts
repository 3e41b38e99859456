/** @file Sampling settings of a model where the user gives none. */
import type { LoraFile } from '../formats/lora.js';
import { baseModelOf, isSdxl, nativeSides } from '../models/pipeline.js';
import type { Pipeline } from '../models/pipeline.js';
import type { SamplerName } from '../schedulers/index.js';

/** Steps: consistency models are made for few; for the others as many as training samples with. */
export const defaultSteps = (sampler: SamplerName): number => (sampler === 'lcm' || sampler === 'tcd' ? 4 : 20);

/** The guidance that a LoRA of ours was trained with, in its file's metadata. */
export const GUIDANCE_NOTE = 'attune.guidance';

/** The guidance that the first LoRA that tells it was trained with. */
export function trainedGuidance(loras: readonly Pick<LoraFile, 'metadata'>[]): number | undefined {
  return loras.map(({ metadata }) => Number(metadata[GUIDANCE_NOTE] ?? NaN)).find((g) => g >= 0 && g < Infinity);
}

/**
 * Guidance: what the LoRAs were trained with. Else 7.5 for Stable Diffusion 1 and 2 and 5 for SDXL, as
 * their own pipelines take; 2 suits the small models that `attune pretrain` makes.
 */
export function defaultGuidance(pipeline: Pipeline, loras: readonly Pick<LoraFile, 'metadata'>[] = []): number {
  const trained = trainedGuidance(loras);
  if (trained !== undefined) return trained;
  if (baseModelOf(pipeline) === undefined) return 2;
  return isSdxl(pipeline) ? 5 : 7.5;
}

/** Width and height in pixels: what the model was trained on, or those of the first Stable Diffusion. */
export const defaultSize = (pipeline: Pipeline): [width: number, height: number] => nativeSides(pipeline) ?? [512, 512];

/** Pixels that go through the network together; beyond it a larger batch needs more memory and is no faster. */
const PIXELS = 16 * 64 * 64;

/** Images a batch: as many as fit, spread evenly over the batches. */
export function defaultBatch(count: number, height: number, width: number): number {
  const most = Math.max(1, Math.floor(PIXELS / (height * width)));
  return Math.ceil(count / Math.ceil(count / most));
}
