/** @file Tensor names of timm's and DINO's vision transformers → ours. */
import type { Target } from './renamed-source.js';

const OUTER = new Map([
  ['cls_token', 'class_embedding'], ['pos_embed', 'position_embedding'],
  ['patch_embed.proj.weight', 'patch_embedding.weight'], ['patch_embed.proj.bias', 'patch_embedding.bias'],
  // Where DreamSim's loader of CLIP has put the norm before the layers.
  ['pos_drop.weight', 'pre_layernorm.weight'], ['pos_drop.bias', 'pre_layernorm.bias'],
  ['norm.weight', 'post_layernorm.weight'], ['norm.bias', 'post_layernorm.bias'], ['proj', 'projection'],
]);

const INNER = new Map([
  ['norm1', 'layer_norm1'], ['attn.proj', 'self_attn.out_proj'], ['norm2', 'layer_norm2'],
  ['mlp.fc1', 'mlp.fc1'], ['mlp.fc2', 'mlp.fc2'],
]);

/** Our tensors behind one of the checkpoint, below `prefix`; none for what is not the network's. */
export function timmVisionFrom(key: string, prefix = ''): Target[] {
  const outer = OUTER.get(key);
  if (outer) return [{ name: `${prefix}${outer}` }];
  const match = /^blocks\.(\d{1,3})\.(.+)\.(weight|bias)$/.exec(key);
  if (!match) return [];
  const [, layer, module, kind] = match as unknown as [string, string, string, string];
  const within = `${prefix}encoder.layers.${layer}.`;
  if (module === 'attn.qkv') {
    return (['q', 'k', 'v'] as const).map((part, i) => ({ name: `${within}self_attn.${part}_proj.${kind}`, third: i as 0 | 1 | 2 }));
  }
  const inner = INNER.get(module);
  return inner ? [{ name: `${within}${inner}.${kind}` }] : [];
}

const HUGGING_FACE = new Map([
  ['embeddings.cls_token', 'class_embedding'], ['embeddings.position_embeddings', 'position_embedding'],
  ['embeddings.patch_embeddings.projection.weight', 'patch_embedding.weight'], ['embeddings.patch_embeddings.projection.bias', 'patch_embedding.bias'],
  ['layernorm.weight', 'post_layernorm.weight'], ['layernorm.bias', 'post_layernorm.bias'],
]);

const HUGGING_FACE_LAYER = new Map([
  ['layernorm_before', 'layer_norm1'], ['layernorm_after', 'layer_norm2'], ['attention.attention.query', 'self_attn.q_proj'],
  ['attention.attention.key', 'self_attn.k_proj'], ['attention.attention.value', 'self_attn.v_proj'],
  ['attention.output.dense', 'self_attn.out_proj'], ['intermediate.dense', 'mlp.fc1'], ['output.dense', 'mlp.fc2'],
  // As transformers 5 has them.
  ['attention.q_proj', 'self_attn.q_proj'], ['attention.k_proj', 'self_attn.k_proj'], ['attention.v_proj', 'self_attn.v_proj'],
  ['attention.o_proj', 'self_attn.out_proj'], ['mlp.fc1', 'mlp.fc1'], ['mlp.fc2', 'mlp.fc2'],
]);

/** The same for transformers' ViTModel, as facebook/dino-vitb16 is published. */
export function vitModelFrom(key: string): Target[] {
  const bare = key.replace(/^vit\./, '');
  const outer = HUGGING_FACE.get(bare);
  if (outer) return [{ name: outer }];
  const [, layer, module, kind] = /^(?:encoder\.layer|layers)\.(\d{1,3})\.(.+)\.(weight|bias)$/.exec(bare) ?? [];
  const inner = HUGGING_FACE_LAYER.get(module ?? '');
  return inner ? [{ name: `encoder.layers.${layer}.${inner}.${kind}` }] : [];
}
