/**
 * @file Textual-Inversion embeddings in LoRA files, `bundle_emb.<token>.…`, as A1111 and ComfyUI read them: one tensor
 * `string_to_param.*` for the only text encoder, or `clip_l` and `clip_g` for SDXL's two.
 */
import { isFloat, type HostTensor } from '../../graph/dtype.js';
import { FormatError, shown } from '../errors.js';
import { checkFinite, type BundledEmbeddings, type TextComponent } from '../lora.js';
import type { WeightSource } from '../weights.js';

const KEY = /^bundle_emb\.([^.]+)\.(string_to_param\..+|emb_params|clip_[lhg])$/;

/** Whether a key is one of an embedding's. */
export function isEmbeddingKey(key: string): boolean {
  return KEY.test(key);
}

/** The embeddings of a file, by token and text encoder. @throws FormatError for one that is not [vectors, width] */
export async function readEmbeddings(source: WeightSource): Promise<BundledEmbeddings | undefined> {
  const tokens = new Map<string, Map<TextComponent, HostTensor>>();
  for (const key of source.tensors.keys()) {
    const [, token, part] = KEY.exec(key) ?? [];
    if (token === undefined) continue;
    const tensor = await source.read(key);
    const where = `${source.where}: embedding "${shown(token)}"`;
    const shape = tensor.shape.length === 1 ? [1, ...tensor.shape] : tensor.shape;
    if (shape.length !== 2 || shape.includes(0) || !isFloat(tensor.dtype)) {
      throw new FormatError(where, `is ${tensor.dtype} [${tensor.shape.join(', ')}], not rows of floats`,
        'The file is damaged: export it again.');
    }
    checkFinite(where, part!, tensor);
    const own = tokens.get(token) ?? new Map<TextComponent, HostTensor>();
    tokens.set(token, own.set(part === 'clip_g' ? 'text_encoder_2' : 'text_encoder', { ...tensor, shape }));
  }
  return tokens.size > 0 ? tokens : undefined;
}

/** The keys that bring embeddings along. */
export function embeddingTensors(embeddings: BundledEmbeddings = new Map()): [key: string, tensor: HostTensor][] {
  return [...embeddings].flatMap(([token, parts]) => [...parts].map(([encoder, tensor]): [string, HostTensor] => {
    const part = encoder === 'text_encoder_2' ? 'clip_g' : parts.size > 1 ? 'clip_l' : 'string_to_param.*';
    return [`bundle_emb.${token}.${part}`, tensor];
  }));
}
