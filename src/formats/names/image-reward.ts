/** @file Tensor names of ImageReward's checkpoint (BLIP's, and a head) → ours. */
import { FormatError } from '../errors.js';
import type { WeightSource } from '../weights.js';
import { renamedSource, type Target } from './renamed-source.js';

const [IMAGE, TEXT] = ['blip.visual_encoder.', 'blip.text_encoder.'];

const OUTER = new Map([
  ['cls_token', 'class_embedding'], ['pos_embed', 'position_embedding'],
  ['patch_embed.proj.weight', 'patch_embedding.weight'], ['patch_embed.proj.bias', 'patch_embedding.bias'],
  ['norm.weight', 'post_layernorm.weight'], ['norm.bias', 'post_layernorm.bias'],
]);

const INNER = new Map([
  ['norm1', 'layer_norm1'], ['attn.proj', 'self_attn.out_proj'], ['norm2', 'layer_norm2'],
  ['mlp.fc1', 'mlp.fc1'], ['mlp.fc2', 'mlp.fc2'],
]);

/** Places of the head's affine layers in its sequence, between the dropouts. */
const HEAD = ['0', '2', '4', '6', '7'];

/** Our tensors behind one of the checkpoint; none for what is not used (the projections of BLIP's training). */
function imageRewardFrom(key: string): Target[] {
  if (key.startsWith(IMAGE)) return imageEncoderFrom(key.slice(IMAGE.length));
  if (key.startsWith(TEXT)) return [{ name: `text.${key.slice(TEXT.length)}` }];
  const match = /^mlp\.layers\.(\d)\.(weight|bias)$/.exec(key);
  const layer = HEAD.indexOf(match?.[1] ?? '');
  return match && layer >= 0 ? [{ name: `head.${layer}.${match[2]}` }] : [];
}

function imageEncoderFrom(path: string): Target[] {
  const outer = OUTER.get(path);
  if (outer) return [{ name: `vision.${outer}` }];
  const match = /^blocks\.(\d{1,3})\.(.+)\.(weight|bias)$/.exec(path);
  if (!match) return [];
  const [, layer, module, kind] = match as unknown as [string, string, string, string];
  const prefix = `vision.encoder.layers.${layer}.`;
  if (module === 'attn.qkv') {
    return (['q', 'k', 'v'] as const).map((part, i) => (
      { name: `${prefix}self_attn.${part}_proj.${kind}`, third: i as 0 | 1 | 2 }
    ));
  }
  const inner = INNER.get(module);
  return inner ? [{ name: `${prefix}${inner}.${kind}` }] : [];
}

/** A checkpoint by our names. @throws FormatError if it is not ImageReward's */
export function imageRewardSource(source: WeightSource): WeightSource {
  const needed = [`${IMAGE}cls_token`, `${TEXT}embeddings.word_embeddings.weight`, 'mlp.layers.7.weight'];
  const missing = needed.find((key) => !source.tensors.has(key));
  if (missing === undefined) return renamedSource(source, imageRewardFrom);
  throw new FormatError(source.where, `has no tensor "${missing}"`, 'Give ImageReward.pt of THUDM/ImageReward.');
}
