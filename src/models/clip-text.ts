/** @file CLIP's text model, with or without the projection into the space shared with images. */
import { add, cast, equal, mul } from '../graph/ops/arithmetic.js';
import { embedding } from '../graph/ops/gather.js';
import { unsqueeze } from '../graph/ops/layout.js';
import { max, sum } from '../graph/ops/reduce.js';
import { literal } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import { linear } from '../nn/linear.js';
import { layerNorm } from '../nn/norm.js';
import { leave } from '../nn/scope.js';
import type { Scope } from '../nn/scope.js';
import { clipEncoder } from './clip-encoder.js';
import type { ClipTextConfig } from './config.js';

export interface ClipTextStates {
  /** The embeddings and the state after each layer, without the final norm: num_hidden_layers + 1 × [B, N, C]. */
  hidden: Tensor[];
  /** The last state after the final norm [B, N, C]. */
  last: Tensor;
  /** `last` at the end token [B, C]. */
  pooled: Tensor;
}

/** SD 1.x and SDXL-L say 2 here by mistake; their end token is the one with the largest id. */
export const LEGACY_END_TOKEN = 2;

/**
 * The text model of transformers (`CLIPTextModel`).
 *
 * @param ids token ids [B, N], int64
 */
export function clipText(scope: Scope, config: ClipTextConfig, ids: Tensor): ClipTextStates {
  const model = scope.at('text_model');
  const { hidden_size: c, max_position_embeddings: length } = config;
  const n = ids.shape[1]!;
  if (n > length) throw new Error(`${n} tokens are too many for ${scope.path || 'a text model'} that takes ${length}`);
  const tokens = embedding(ids, model.at('embeddings.token_embedding').weight('weight', [config.vocab_size, c]));
  const table = model.at('embeddings.position_embedding').weight('weight', [length, c]);
  const positions = embedding(literal(Array.from({ length: n }, (_, i) => i), [n], 'int64'), table);
  const hidden = clipEncoder(model.at('encoder'), config, add(tokens, positions), causalMask(n));
  const last = finalNorm(scope, config, hidden.at(-1)!);
  const pooled = sum(mul(last, unsqueeze(endTokenMask(ids, config.eos_token_id), 2)), { axes: [1] });
  return { hidden: hidden.map(leave), last, pooled };
}

/** The text model's final norm, for states that pipelines take from an earlier layer: [B, N, C]. */
export function finalNorm(scope: Scope, config: ClipTextConfig, state: Tensor): Tensor {
  return leave(layerNorm(scope.at('text_model.final_layer_norm'), state, config.layer_norm_eps));
}

/** The pooled state in the space shared with images (`CLIPTextModelWithProjection`), not normed: [B, C] → [B, P]. */
export function textProjection(scope: Scope, config: ClipTextConfig, pooled: Tensor): Tensor {
  return leave(linear(scope.at('text_projection'), pooled, config.projection_dim, { bias: false }));
}

/** [N, N]: 0 where a token may look, very negative above the diagonal. */
function causalMask(n: number): Tensor {
  return literal(Array.from({ length: n * n }, (_, i) => (i % n > Math.floor(i / n) ? -3.4028235e38 : 0)), [n, n]);
}

/** 1 at the first end token of each row, or at its start if there is none: [B, N]. */
function endTokenMask(ids: Tensor, endToken: number): Tensor {
  const n = ids.shape[1]!;
  const token = cast(ids, 'float32');
  const axes = [1];
  const end = endToken === LEGACY_END_TOKEN ? max(token, { axes, keepDims: true }) : endToken;
  // The earlier a hit, the higher its rank: n, n − 1, …; the start, without a hit, still ranks ½.
  const ranks = literal(Array.from({ length: n }, (_, i) => n - i), [1, n]);
  const start = literal(Array.from({ length: n }, (_, i) => (i === 0 ? 0.5 : 0)), [1, n]);
  const rank = add(mul(cast(equal(token, end), 'float32'), ranks), start);
  return cast(equal(rank, max(rank, { axes, keepDims: true })), 'float32');
}
