/**
 * @file Training the denoiser's text encoder on the pictures themselves before there is a denoiser: the caption's mean
 * state, mapped linearly, is to be the picture's latents. A step costs less than a tenth of a denoiser's and the error is not
 * buried in noise; what is learnt is where the layout and colours of a named thing lie in the text states. The linear
 * map is thrown away.
 */
import type { HostTensor } from '../../graph/dtype.js';
import { square, sub } from '../../graph/ops/arithmetic.js';
import { mean } from '../../graph/ops/reduce.js';
import { input } from '../../graph/tensor.js';
import type { Tensor } from '../../graph/tensor.js';
import { clipText } from '../../models/clip-text.js';
import type { ClipTextConfig } from '../../models/config.js';
import type { Tokenizer } from '../../models/tokenizer.js';
import { linear } from '../../nn/linear.js';
import { rootScope, trainableWeights } from '../../nn/scope.js';
import { uniform } from '../../random/random.js';
import { epochBatch, pickCaption } from './dataset.js';
import type { DatasetRecord } from './dataset.js';
import { TEXT_ENCODER } from './denoiser.js';
import type { Trainable } from './fit.js';
import { takeRows } from './rows.js';
import { tokenIds } from './tokens.js';

/** Prefix of the linear map among the parameters. */
export const HEAD = 'head/';

export interface TextEncoderOptions {
  config: ClipTextConfig;
  /** The encoder's weights under their prefix, and the map's: weight [P, C], bias [P]. */
  parameters: Map<string, HostTensor>;
  tokenizer: Tokenizer;
  /** Scaled latents of all pictures, [N, P]. */
  latents: HostTensor;
  records: readonly DatasetRecord[];
  batch: number;
  seed: number;
}

export function textEncoder(options: TextEncoderOptions): Trainable {
  const { config, tokenizer, latents, records, batch, seed } = options;
  const [count, width] = latents.shape as [number, number];
  const symbols = new Map<string, Tensor>();
  const scopeOf = (prefix: string) =>
    rootScope(trainableWeights(prefix, (name, t) => symbols.set(prefix + name, t)));
  const ids = input('ids', [batch, tokenizer.maxLength], 'int64');
  const target = input('latents', [batch, width]);
  const state = mean(clipText(scopeOf(TEXT_ENCODER), config, ids).last, { axes: [1] }); // [B, C]
  const loss = mean(square(sub(linear(scopeOf(HEAD), state, width), target)));
  return {
    parameters: options.parameters,
    symbols,
    loss,
    metrics: {},
    feeds(step) {
      const indices = epochBatch({ seed, stream: 'text-order' }, step, count, batch);
      const draws = uniform({ seed, stream: 'text-caption', step }, 0, batch);
      const captions = indices.map((index, i) => pickCaption(records[index]!, draws[i]!));
      return { ids: tokenIds(tokenizer, captions), latents: takeRows(latents, indices) };
    },
  };
}
