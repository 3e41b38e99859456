/** @file A CLIP model from a single OpenCLIP checkpoint, which holds no configuration: the shapes tell it. */
import { openClipSource } from '../formats/names/open-clip.js';
import { openWeights } from '../formats/open-weights.js';
import { tensorInfo } from '../formats/weights.js';
import type { WeightSource } from '../formats/weights.js';
import { deferred } from '../host/resources.js';
import { readWeights } from './component-files.js';
import type { Component } from './component-files.js';
import { clipConfigSchema, parseConfig } from '../models/config.js';
import type { ClipConfig } from '../models/config.js';

/** What the shapes of the weights do not tell. */
export interface ClipArchitecture {
  readonly visionHeads: number;
  readonly textHeads: number;
  readonly activation: ClipConfig['text_config']['hidden_act'];
}

/** ViT-H-14 in OpenCLIP's model_configs: a head width of 80 in 1280, and 16 heads in 1024. */
export const VIT_H_14: ClipArchitecture = { visionHeads: 16, textHeads: 16, activation: 'gelu' };

/**
 * Reads an OpenCLIP checkpoint, a safetensors or PyTorch file.
 *
 * @throws FormatError naming the file and the tensor that is missing or misshaped
 */
export async function readOpenClip(path: string, architecture: ClipArchitecture): Promise<Component<'CLIPModel'>> {
  const file = await openWeights(path);
  await using _ = deferred(() => file.close());
  const source = openClipSource(file);
  const config = openClipConfig(source, architecture);
  return { kind: 'CLIPModel', config, weights: await readWeights(source, 'CLIPModel', config) };
}

/** The configuration of a checkpoint that is seen by our names. */
export function openClipConfig({ where, tensors }: WeightSource, architecture: ClipArchitecture): ClipConfig {
  const size = (name: string, axis: number): number => tensorInfo(where, tensors, name).shape[axis] ?? 0;
  const tower = (model: string) => ({
    intermediate_size: size(`${model}.encoder.layers.0.mlp.fc1.weight`, 0),
    num_hidden_layers: [...tensors.keys()]
      .filter((name) => name.startsWith(model) && name.endsWith('.mlp.fc1.weight')).length,
    hidden_act: architecture.activation,
    projection_dim: size('text_projection.weight', 0),
  });
  const table = 'text_model.embeddings.token_embedding.weight';
  const patch = 'vision_model.embeddings.patch_embedding.weight';
  const positions = size('vision_model.embeddings.position_embedding.weight', 0);
  return parseConfig(clipConfigSchema, {
    projection_dim: size('text_projection.weight', 0),
    text_config: {
      ...tower('text_model'),
      vocab_size: size(table, 0),
      hidden_size: size(table, 1),
      max_position_embeddings: size('text_model.embeddings.position_embedding.weight', 0),
      num_attention_heads: architecture.textHeads,
      eos_token_id: size(table, 0) - 1, // the last of the vocabulary
    },
    vision_config: {
      ...tower('vision_model'),
      hidden_size: size(patch, 0),
      patch_size: size(patch, 2),
      image_size: size(patch, 2) * Math.floor(Math.sqrt(positions - 1)), // one position is the class token's
      num_attention_heads: architecture.visionHeads,
    },
  }, where);
}
