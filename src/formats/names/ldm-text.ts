/** @file Text-encoder tensor names of OpenCLIP → ours, which are those of transformers' CLIPTextModel. */
import type { Target } from './renamed-source.js';

const OUTER = new Map([
  ['token_embedding.weight', 'text_model.embeddings.token_embedding.weight'],
  ['positional_embedding', 'text_model.embeddings.position_embedding.weight'],
  ['ln_final.weight', 'text_model.final_layer_norm.weight'],
  ['ln_final.bias', 'text_model.final_layer_norm.bias'],
]);

const INNER = new Map([
  ['ln_1', 'layer_norm1'], ['ln_2', 'layer_norm2'], ['mlp.c_fc', 'mlp.fc1'], ['mlp.c_proj', 'mlp.fc2'],
  ['attn.out_proj', 'self_attn.out_proj'],
]);

/**
 * Our tensors behind an OpenCLIP one.
 * @param path the name within the text tower, e.g. `transformer.resblocks.0.attn.in_proj_weight`
 * @param layers how many layers are used: SD 2.x leaves the last one and the projection out
 * @returns none if the tensor is not used or the name not known
 */
export function textFromOpenClip(path: string, layers = Infinity): Target[] {
  const outer = OUTER.get(path);
  if (outer) return [{ name: outer }];
  // OpenCLIP multiplies by the projection from the right, a linear layer from the left.
  if (path === 'text_projection') {
    return layers === Infinity ? [{ name: 'text_projection.weight', transposed: true }] : [];
  }
  return layerFromOpenClip(path, 'text_model', layers);
}

/** Our tensors behind one of a transformer's, whose names are alike in the text and the vision tower. */
export function layerFromOpenClip(path: string, model: 'text_model' | 'vision_model', layers = Infinity): Target[] {
  const match = /^transformer\.resblocks\.(\d{1,3})\.(.+?)[._](weight|bias)$/.exec(path);
  if (!match || Number(match[1]) >= layers) return [];
  const [, layer, module, kind] = match as unknown as [string, string, string, string];
  const prefix = `${model}.encoder.layers.${layer}.`;
  if (module === 'attn.in_proj') {
    return (['q', 'k', 'v'] as const).map((part, i) => (
      { name: `${prefix}self_attn.${part}_proj.${kind}`, third: i as 0 | 1 | 2 }
    ));
  }
  const inner = INNER.get(module);
  return inner ? [{ name: `${prefix}${inner}.${kind}` }] : [];
}

/**
 * Our name for a CLIPTextModel tensor in a single-file checkpoint: the same, except that the oldest files lack the
 * `text_model.` level. Undefined for what is no weight (`position_ids`).
 */
export function textFromClip(path: string): string | undefined {
  const name = path.startsWith('text_model.') ? path : `text_model.${path}`;
  return /^text_model\.(embeddings\..+\.weight|encoder\..+|final_layer_norm\..+)$/.test(name) ? name : undefined;
}
