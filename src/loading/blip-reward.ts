/** @file ImageReward's network: BLIP's encoders and a small head (Xu et al., arXiv 2304.05977), and its checkpoint. */
import { z } from 'zod';
import { FormatError } from '../formats/errors.js';
import { imageRewardSource } from '../formats/names/image-reward.js';
import { openWeights } from '../formats/open-weights.js';
import { tensorInfo } from '../formats/weights.js';
import type { WeightSource } from '../formats/weights.js';
import type { HostTensor, Shape } from '../graph/dtype.js';
import { describeShape } from '../graph/errors.js';
import { narrow, reshape, squeeze } from '../graph/ops/layout.js';
import { input } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import { deferred } from '../host/resources.js';
import { linear } from '../nn/linear.js';
import { weightShapes } from '../nn/scope.js';
import type { Scope } from '../nn/scope.js';
import { bertWithImage } from '../models/bert.js';
import { blipVision } from '../models/blip-vision.js';
import { repeats, side, width, words } from '../models/config-values.js';
import { parseConfig } from '../models/config.js';

/** Heads of ViT-L/16 and of BERT base: shapes do not tell them. */
const [VISION_HEADS, TEXT_HEADS] = [16, 12];

const encoder = (heads: number) => ({
  hidden_size: width.multipleOf(heads),
  intermediate_size: width,
  num_hidden_layers: repeats,
  num_attention_heads: z.literal(heads),
});
const schema = z.strictObject({
  vision: z.strictObject({ ...encoder(VISION_HEADS), image_size: side, patch_size: side }),
  text: z.strictObject({ ...encoder(TEXT_HEADS), vocab_size: words, max_position_embeddings: side }),
  /** Widths of the head's layers; the last is 1. */
  head: z.tuple([width, width, width, width, z.literal(1)]),
});
export type BlipRewardConfig = z.infer<typeof schema>;

/**
 * The score before it is standardised: BERT reads the prompt and the image, and affine layers without activation make a
 * number of its first state.
 *
 * @param pixels [B, 3, S, S], normalised by CLIP's mean and deviation
 * @param ids token ids [B, N], int64
 * @param mask 1 for tokens, 0 for padding [B, N]
 * @returns [B]
 */
export function blipReward(
  scope: Scope, config: BlipRewardConfig, pixels: Tensor, ids: Tensor, mask: Tensor,
): Tensor {
  const image = blipVision(scope.at('vision'), config.vision, pixels);
  const states = bertWithImage(scope.at('text'), config.text, ids, mask, image);
  const first = squeeze(narrow(states, 1, 0, 1), 1);
  const score = config.head.reduce((x, features, i) => linear(scope.at('head').at(i), x, features), first);
  return reshape(score, [ids.shape[0]!]);
}

/**
 * Reads `ImageReward.pt` of THUDM/ImageReward, or the same as safetensors.
 *
 * @throws FormatError naming the file and the tensor that is missing or misshaped
 */
export async function readBlipReward(
  path: string,
): Promise<{ config: BlipRewardConfig; weights: Map<string, HostTensor> }> {
  const file = await openWeights(path);
  await using _ = deferred(() => file.close());
  const source = imageRewardSource(file);
  const config = blipRewardConfig(source);
  const shapes = blipRewardShapes(config);
  for (const [name, shape] of shapes) {
    const given = tensorInfo(path, source.tensors, name).shape;
    if (given.join() === shape.join()) continue;
    throw new FormatError(path, `its "${name}" is ${describeShape(given)}, not ${describeShape(shape)}`,
      'The file is damaged or another model\'s: download ImageReward.pt of THUDM/ImageReward again.');
  }
  const weights = new Map<string, HostTensor>();
  for (const name of shapes.keys()) weights.set(name, await source.read(name, 'float32'));
  return { config, weights };
}

/** The configuration of a checkpoint that is seen by our names, told by its shapes. */
export function blipRewardConfig({ where, tensors }: WeightSource): BlipRewardConfig {
  const size = (name: string, axis: number): number => tensorInfo(where, tensors, name).shape[axis] ?? 0;
  const layers = (suffix: string): number => [...tensors.keys()].filter((name) => name.endsWith(suffix)).length;
  const patch = size('vision.patch_embedding.weight', 2);
  return parseConfig(schema, {
    vision: {
      image_size: patch * Math.floor(Math.sqrt(size('vision.position_embedding', 1) - 1)), // one is the class token's
      patch_size: patch,
      hidden_size: size('vision.patch_embedding.weight', 0),
      intermediate_size: size('vision.encoder.layers.0.mlp.fc1.weight', 0),
      num_hidden_layers: layers('.mlp.fc1.weight'),
      num_attention_heads: VISION_HEADS,
    },
    text: {
      vocab_size: size('text.embeddings.word_embeddings.weight', 0),
      max_position_embeddings: size('text.embeddings.position_embeddings.weight', 0),
      hidden_size: size('text.embeddings.word_embeddings.weight', 1),
      intermediate_size: size('text.encoder.layer.0.intermediate.dense.weight', 0),
      num_hidden_layers: layers('.intermediate.dense.weight'),
      num_attention_heads: TEXT_HEADS,
    },
    head: [0, 1, 2, 3, 4].map((i) => size(`head.${i}.weight`, 0)),
  }, where);
}

/** Names and shapes of all weights. */
export function blipRewardShapes(config: BlipRewardConfig): Map<string, Shape> {
  const { image_size: pixels } = config.vision;
  return weightShapes((scope) => blipReward(
    scope, config, input('pixels', [1, 3, pixels, pixels]), input('ids', [1, 2], 'int64'), input('mask', [1, 2]),
  ));
}
