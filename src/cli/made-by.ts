/** @file What of a command line decides an image, so that it can be made again from its metadata. */
import { basename } from 'node:path';
import { HUB_ID } from '../loading/hub.js';
import type { GenerationParameters } from '../sampling/parameters-text.js';
import type { SamplingFlags, SamplingSettings } from './sampling-options.js';

/** Flags that are given and change what is made, by their names in configurations; `model` and `loras` always. */
export function madeBy(flags: SamplingFlags) {
  const { model, like, vae, prediction, embedding: embeddings, clipSkip, lora: loras = [], spacing, sigmas, eta } = flags;
  return {
    model, ...(like !== undefined && { like }), ...(vae !== undefined && { vae }), ...(prediction && { prediction }),
    ...(embeddings && embeddings.length > 0 && { embeddings }), ...(clipSkip !== undefined && { clipSkip }), loras,
    ...(spacing && { spacing }), ...(sigmas && { sigmas }), ...(eta !== undefined && { eta }),
  };
}

export type MadeBy = ReturnType<typeof madeBy>;

/** The same for pictures, which are passed on: files by their names, without the folders of who made them. */
export function withoutFolders(made: MadeBy): MadeBy {
  const { like, vae, embeddings, ...rest } = made;
  return {
    ...rest, model: bare(made.model), ...(like !== undefined && { like: bare(like) }), ...(vae !== undefined && { vae: bare(vae) }),
    ...(embeddings && { embeddings: embeddings.map(bare) }), loras: made.loras.map(({ path, strength }) => ({ path: bare(path), strength })),
  };
}

/** What A1111's line of parameters has of it. */
export function generationParameters(
  made: MadeBy, { sampler, steps, guidance, negativePrompt, width, height }: SamplingSettings, prompt: string, seed: number, version: string,
): GenerationParameters {
  const { model, vae, clipSkip, sigmas, eta, loras } = made;
  return {
    prompt, seed, negativePrompt, steps, sampler, guidance, width, height, version, model: stem(model),
    ...(vae !== undefined && { vae: stem(vae) }), ...(clipSkip !== undefined && { clipSkip }), ...(sigmas && { sigmas }),
    ...(eta !== undefined && { eta }), loras: loras.map(({ path, strength }) => ({ name: stem(path), strength })),
  };
}

/** A hub id tells where to find it; of a path the last part alone is anybody else's business. */
const bare = (name: string): string => (HUB_ID.test(name) ? name : basename(name));

/** A file's or model's name without folder and ending. */
function stem(path: string): string {
  return basename(path).replace(/\.(safetensors|ckpt|pt|pth|bin)$/i, '');
}
