/** @file Tensor names of ImageReward's checkpoint (BLIP's, and a head) → ours. */
import { FormatError } from '../errors.js';
import type { WeightSource } from '../weights.js';
import { renamedSource, type Target } from './renamed-source.js';
import { timmVisionFrom } from './timm-vision.js';

const [IMAGE, TEXT] = ['blip.visual_encoder.', 'blip.text_encoder.'];

/** Places of the head's affine layers in its sequence, between the dropouts. */
const HEAD = ['0', '2', '4', '6', '7'];

/** Our tensors behind one of the checkpoint; none for what is not used (the projections of BLIP's training). */
function imageRewardFrom(key: string): Target[] {
  if (key.startsWith(IMAGE)) return timmVisionFrom(key.slice(IMAGE.length), 'vision.');
  if (key.startsWith(TEXT)) return [{ name: `text.${key.slice(TEXT.length)}` }];
  const match = /^mlp\.layers\.(\d)\.(weight|bias)$/.exec(key);
  const layer = HEAD.indexOf(match?.[1] ?? '');
  return match && layer >= 0 ? [{ name: `head.${layer}.${match[2]}` }] : [];
}

/** A checkpoint by our names. @throws FormatError if it is not ImageReward's */
export function imageRewardSource(source: WeightSource): WeightSource {
  const needed = [`${IMAGE}cls_token`, `${TEXT}embeddings.word_embeddings.weight`, 'mlp.layers.7.weight'];
  const missing = needed.find((key) => !source.tensors.has(key));
  if (missing === undefined) return renamedSource(source, imageRewardFrom);
  throw new FormatError(source.where, `has no tensor "${missing}"`, 'Give ImageReward.pt of THUDM/ImageReward.');
}
