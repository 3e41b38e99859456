/** @file BERT's encoder (arXiv 1810.04805) as BLIP uses it: every layer also attends to an image (arXiv 2201.12086). */
import { gelu } from '../graph/ops/activation.js';
import { add, mul, sub } from '../graph/ops/arithmetic.js';
import { embedding } from '../graph/ops/gather.js';
import { unsqueeze } from '../graph/ops/layout.js';
import { literal } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import { multiHeadAttention } from '../nn/attention.js';
import type { ProjectionNames } from '../nn/attention.js';
import { linear } from '../nn/linear.js';
import { layerNorm } from '../nn/norm.js';
import type { Scope } from '../nn/scope.js';

export interface BertConfig {
  readonly vocab_size: number;
  readonly max_position_embeddings: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
}

const PROJECTIONS: ProjectionNames = { q: 'self.query', k: 'self.key', v: 'self.value', out: 'output.dense' };

/** `layer_norm_eps` of BERT and BLIP. */
const EPSILON = 1e-12;

/** What BLIP adds to the scores of padding. */
const HIDDEN = -10000;

/**
 * `BlipTextModel` of transformers as an encoder, BLIP's "multimodal" mode: no causal mask, no token types.
 *
 * @param ids token ids [B, N], int64
 * @param mask 1 for tokens, 0 for padding [B, N]
 * @param image states of the image encoder [B, M, E], all of them attended to
 * @returns the last states [B, N, C]
 */
export function bertWithImage(scope: Scope, config: BertConfig, ids: Tensor, mask: Tensor, image: Tensor): Tensor {
  const { hidden_size: c, num_attention_heads: heads } = config;
  const n = ids.shape[1]!;
  const embeddings = scope.at('embeddings');
  const words = embeddings.at('word_embeddings').weight('weight', [config.vocab_size, c]);
  const table = embeddings.at('position_embeddings').weight('weight', [config.max_position_embeddings, c]);
  const positions = embedding(literal(Array.from({ length: n }, (_, i) => i), [n], 'int64'), table);
  const hidden = unsqueeze(mul(sub(1, mask), HIDDEN), 1, 2); // [B, 1, 1, N]

  let x = layerNorm(embeddings.at('LayerNorm'), add(embedding(ids, words), positions), EPSILON);
  for (let i = 0; i < config.num_hidden_layers; i++) {
    const layer = scope.at('encoder.layer').at(i);
    const attend = (part: string, from: { mask: Tensor } | { context: Tensor }): Tensor => {
      const y = multiHeadAttention(layer.at(part), x, { heads, names: PROJECTIONS, ...from });
      return layerNorm(layer.at(part).at('output.LayerNorm'), add(x, y), EPSILON);
    };
    x = attend('attention', { mask: hidden });
    x = attend('crossattention', { context: image });
    const wide = gelu(linear(layer.at('intermediate.dense'), x, config.intermediate_size));
    x = layerNorm(layer.at('output.LayerNorm'), add(x, linear(layer.at('output.dense'), wide, c)), EPSILON);
  }
  return x;
}
