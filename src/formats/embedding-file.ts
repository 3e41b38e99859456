/**
 * @file Embeddings of Textual Inversion as people share them: diffusers' `learned_embeds`, A1111's `.pt`
 * (`string_to_param`), `emb_params`, and SDXL's `clip_l` with `clip_g`.
 */
import { basename, extname } from 'node:path';
import { isFloat } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { deferred } from '../host/resources.js';
import { FormatError, shown } from './errors.js';
import { checkFinite } from './lora.js';
import type { TextComponent } from './lora.js';
import { openWeights } from './open-weights.js';

export interface EmbeddingFile {
  /** The word that stands for it in prompts. */
  readonly token: string;
  /** Vectors [N, C] by the text encoder that they are for. */
  readonly parts: ReadonlyMap<TextComponent, HostTensor>;
}

/** Keys that name no word; the file's name is the word then, as in A1111 and ComfyUI. */
const ENCODERS: readonly (readonly [RegExp, TextComponent])[] = [
  [/^(clip_l|text_encoders_0)$/, 'text_encoder'], [/^(clip_g|text_encoders_1)$/, 'text_encoder_2'],
  [/^(emb_params|string_to_param\.\*)$/, 'text_encoder'],
];

/** @throws FormatError for a file that holds something else */
export async function readEmbedding(path: string): Promise<EmbeddingFile> {
  const source = await openWeights(path);
  await using _ = deferred(() => source.close());
  const keys = [...source.tensors.keys()];
  const parts = new Map<TextComponent, HostTensor>();
  for (const key of keys) {
    const encoder = ENCODERS.find(([pattern]) => pattern.test(key))?.[1];
    if (encoder) parts.set(encoder, vectors(await source.read(key), path, key));
  }
  if (parts.size > 0) return { token: basename(path, extname(path)), parts };
  if (keys.length === 1) {
    return { token: keys[0]!, parts: new Map([['text_encoder', vectors(await source.read(keys[0]!), path, keys[0]!)]]) };
  }
  throw new FormatError(path, `is no embedding; its keys are like "${keys.slice(0, 3).map(shown).join('", "')}"`,
    'Those of diffusers (learned_embeds), A1111 and ComfyUI are read.');
}

function vectors(tensor: HostTensor, path: string, key: string): HostTensor {
  const shape = tensor.shape.length === 1 ? [1, ...tensor.shape] : tensor.shape;
  if (shape.length !== 2 || shape.includes(0) || shape[0]! > MOST_VECTORS || !isFloat(tensor.dtype)) {
    throw new FormatError(path, `"${shown(key)}" is ${tensor.dtype} [${tensor.shape.join(', ')}], not rows of floats`,
      'Give an embedding of Textual Inversion.');
  }
  checkFinite(path, key, tensor);
  return { ...tensor, shape };
}

/** No prompt has room for more. */
const MOST_VECTORS = 75;
