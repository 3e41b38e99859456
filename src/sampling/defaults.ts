/** @file Sampling settings of a model where the user gives none. */
import type { LoraFile } from '../formats/lora.js';
import { nativeSides } from '../models/pipeline.js';
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

/** Guidance: what the LoRAs were trained with, else the family's. */
export const defaultGuidance = ({ family }: Pick<Pipeline, 'family'>, loras: readonly Pick<LoraFile, 'metadata'>[] = []): number =>
  trainedGuidance(loras) ?? family.defaults.guidance;

/** Width and height in pixels: what the model was trained on, or the family's. */
export const defaultSize = (pipeline: Pipeline): readonly [width: number, height: number] =>
  nativeSides(pipeline) ?? pipeline.family.defaults.size;

/** Pixels that go through the network together; beyond it a larger batch needs more memory and is no faster. */
const PIXELS = 16 * 64 * 64;

/** Images a batch: as many as fit, spread evenly over the batches. */
export function defaultBatch(count: number, height: number, width: number): number {
  const most = Math.max(1, Math.floor(PIXELS / (height * width)));
  return Math.ceil(count / Math.ceil(count / most));
}
