/** @file Loading what a command works with, with progress and warnings for people. */
import { leftOutText } from '../formats/lora-dialects/left-out.js';
import { hasEffect } from '../formats/lora.js';
import { readLora } from '../formats/lora-file.js';
import type { LoraReading } from '../formats/lora-file.js';
import { findLora } from '../loading/find-lora.js';
import { PRECISIONS } from '../nn/precision.js';
import { chosenPrecision } from '../training/precision.js';
import { loadPipeline } from '../loading/load.js';
import type { Pipeline } from '../models/pipeline.js';
import type { LoraUse } from '../sampling/lora-apply.js';
import type { Progress } from '../runs/progress.js';
import type { LoraArgument, ModelFlags } from './option-values.js';
import { stopSignal } from './supervise.js';

/** Bytes as whole megabytes, such that all of them are reached at the end only. */
const megabytes = (done: number, total: number): [number, number] => {
  const all = Math.ceil(total / 1e6);
  return [done === total ? all : Math.floor(done / 1e6), all];
};

/**
 * Loads a model by bundled name, folder, file or hub id.
 *
 * @param flags what a single file is built like, another VAE, what the network predicts, what it is computed in
 * @throws FormatError
 */
export async function loadModel(
  model: string, progress: Progress, { like, vae, prediction, embedding: embeddings, clipSkip, precision = 'auto', device = 'cpu' }: ModelFlags = {},
): Promise<Pipeline> {
  const chosen = await chosenPrecision(precision, device, progress.phase);
  progress.phase(`loading model ${model}`);
  const onProgress = (done: number, total: number): void => {
    stopSignal.throwIfAborted();
    progress.step(...megabytes(done, total), 'MB');
  };
  const onWarning = (text: string): void => progress.warn(text);
  return loadPipeline(model, {
    onProgress, onWarning, like, vae, prediction, embeddings, clipSkip, precision: PRECISIONS[chosen],
  });
}

/**
 * Reads a LoRA and warns of what it holds that is left out.
 *
 * @param name a file, a folder or a hub id `org/name[/file][@revision]`
 * @throws FormatError
 */
export async function loadLora(name: string, progress: Progress): Promise<LoraReading> {
  const bytes = (done: number, total: number): void => progress.step(...megabytes(done, total), 'MB');
  const reading = await readLora(await findLora(name, { bytes }));
  const left = leftOutText(reading);
  if (left !== undefined) progress.warn(`${name}: ${left}; see attune lora inspect`);
  return reading;
}

/** Reads LoRAs to apply, in their order, and warns of those that change nothing. @throws FormatError */
export async function loadLoras(loras: readonly LoraArgument[], progress: Progress): Promise<LoraUse[]> {
  const uses: LoraUse[] = [];
  for (const { path, strength } of loras) {
    const { lora } = await loadLora(path, progress);
    const idle = strength === 0 ? 'at strength 0' : hasEffect(lora) ? null : 'all its changes are zero, so that';
    if (idle !== null) progress.warn(`${path}: ${idle} it has no effect; the pictures are the base model's`);
    uses.push({ where: path, lora, strength });
  }
  return uses;
}
