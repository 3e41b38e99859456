/** @file Tensor names of a whole OpenCLIP checkpoint → ours, which are those of transformers' CLIPModel. */
import { FormatError } from '../errors.js';
import type { WeightSource } from '../weights.js';
import { layerFromOpenClip, textFromOpenClip } from './ldm-text.js';
import { renamedSource, type Target } from './renamed-source.js';

const VISUAL = 'visual.';

const VISION = new Map([
  ['class_embedding', 'vision_model.embeddings.class_embedding'],
  ['positional_embedding', 'vision_model.embeddings.position_embedding.weight'],
  ['conv1.weight', 'vision_model.embeddings.patch_embedding.weight'],
  ['ln_pre.weight', 'vision_model.pre_layrnorm.weight'],
  ['ln_pre.bias', 'vision_model.pre_layrnorm.bias'],
  ['ln_post.weight', 'vision_model.post_layernorm.weight'],
  ['ln_post.bias', 'vision_model.post_layernorm.bias'],
]);

/** Our tensors behind one of the checkpoint, e.g. `visual.proj`; none if the name is not known. */
function clipFromOpenClip(key: string): Target[] {
  if (key === 'logit_scale') return [{ name: key }];
  if (!key.startsWith(VISUAL)) return textFromOpenClip(key);
  const path = key.slice(VISUAL.length);
  if (path === 'proj') return [{ name: 'visual_projection.weight', transposed: true }];
  const outer = VISION.get(path);
  return outer ? [{ name: outer }] : layerFromOpenClip(path, 'vision_model');
}

/** A checkpoint by our names. @throws FormatError if it is not one of a CLIP with a vision transformer */
export function openClipSource(source: WeightSource): WeightSource {
  const missing = ['visual.conv1.weight', 'visual.proj', 'text_projection'].find((key) => !source.tensors.has(key));
  if (missing === undefined) return renamedSource(source, clipFromOpenClip);
  throw new FormatError(source.where, `has no tensor "${missing}"`,
    'Give a checkpoint of OpenCLIP, with a vision transformer and a text transformer.');
}
