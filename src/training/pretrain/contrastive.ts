/** @file Training an image encoder and a text encoder on each other (CLIP, Radford et al. 2021). */
import { host } from '../../graph/dtype.js';
import type { HostTensor } from '../../graph/dtype.js';
import { logSoftmax } from '../../graph/ops/activation.js';
import { add, exp, mul, neg } from '../../graph/ops/arithmetic.js';
import { swapLast } from '../../graph/ops/layout.js';
import { mean, sum } from '../../graph/ops/reduce.js';
import { input } from '../../graph/tensor.js';
import type { Tensor } from '../../graph/tensor.js';
import { clipLogits, imageFeatures, normalizePixels, textFeatures } from '../../models/clip.js';
import type { ClipConfig } from '../../models/config.js';
import type { Tokenizer } from '../../models/tokenizer.js';
import { rootScope, trainableWeights } from '../../nn/scope.js';
import { uniform } from '../../random/random.js';
import { epochBatch, pickCaption } from './dataset.js';
import type { Dataset } from './dataset.js';
import type { Trainable } from './fit.js';
import { jittered } from './jitter.js';
import type { Jitter } from './jitter.js';
import { tokenIds } from './tokens.js';

export interface ContrastiveOptions extends Jitter {
  config: ClipConfig;
  parameters: Map<string, HostTensor>;
  tokenizer: Tokenizer;
  batch: number;
  seed: number;
}

/** Row i spreads its weight evenly over the pictures whose caption is caption i: equal captions are all right answers. */
function sharedCaptions(captions: readonly string[]): Float32Array {
  const n = captions.length;
  const targets = new Float32Array(n * n);
  captions.forEach((caption, i) => {
    const same = captions.filter((c) => c === caption).length;
    for (let j = 0; j < n; j++) if (captions[j] === caption) targets[i * n + j] = 1 / same;
  });
  return targets;
}

export function contrastive(dataset: Dataset, options: ContrastiveOptions): Trainable {
  const { batch, seed, config, tokenizer } = options;
  const symbols = new Map<string, Tensor>();
  const scope = rootScope(trainableWeights('clip/', (name, t) => symbols.set(name, t)));
  const images = input('image', [batch, 3, dataset.size, dataset.size]); // [0, 1]
  const ids = input('ids', [batch, tokenizer.maxLength], 'int64');
  const targets = input('targets', [batch, batch]); // symmetric, rows sum to 1
  const u = imageFeatures(scope, config, normalizePixels(images)); // [B, P]
  const v = textFeatures(scope, config, ids); // [B, P]
  const logits = clipLogits(scope, u, v); // [B images, B texts]
  const crossEntropy = (scores: Tensor): Tensor => neg(mean(sum(mul(logSoftmax(scores), targets), { axes: [1] })));
  const loss = mul(add(crossEntropy(logits), crossEntropy(swapLast(logits))), 0.5);
  return {
    parameters: options.parameters,
    symbols,
    loss,
    metrics: { scale: exp(scope.weight('logit_scale', [])) },
    feeds(step) {
      const indices = epochBatch({ seed, stream: 'clip-order' }, step, dataset.records.length, batch);
      const choice = uniform({ seed, stream: 'clip-caption', step }, 0, batch);
      const captions = indices.map((index, i) => pickCaption(dataset.records[index]!, choice[i]!));
      const image = jittered(dataset, indices, options, { seed, stream: 'clip', step });
      return { image, ids: tokenIds(tokenizer, captions), targets: host(sharedCaptions(captions), [batch, batch]) };
    },
  };
}
