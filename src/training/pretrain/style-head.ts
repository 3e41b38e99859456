/** @file Training a linear score on CLIP's image features that tells one style from the others (logistic regression). */
import { host } from '../../graph/dtype.js';
import type { HostTensor } from '../../graph/dtype.js';
import { cast, equal, greater, mul, softplus, sub } from '../../graph/ops/arithmetic.js';
import { linear } from '../../graph/ops/matmul.js';
import { reshape } from '../../graph/ops/layout.js';
import { mean } from '../../graph/ops/reduce.js';
import { input } from '../../graph/tensor.js';
import type { Tensor } from '../../graph/tensor.js';
import { integers } from '../../random/random.js';
import { takeRows } from './rows.js';
import type { Trainable } from './fit.js';

export interface StyleHeadOptions {
  /** Image features of all pictures, [N, P]. */
  features: HostTensor;
  /** 1 for the positive style, 0 for the others, [N]. */
  labels: Float32Array;
  parameters: Map<string, HostTensor>; // weight [1, P], bias [1]
  batch: number;
  seed: number;
}

export function styleHead({ features, labels, parameters, batch, seed }: StyleHeadOptions): Trainable {
  const [count, width] = features.shape as [number, number];
  const w = input('head/weight', [1, width]);
  const b = input('head/bias', [1]);
  const x = input('features', [batch, width]);
  const y = input('labels', [batch]);
  const score = reshape(linear(x, w, b), [batch]);
  // −log σ(score) for y = 1, −log σ(−score) for y = 0
  const loss = mean(sub(softplus(score), mul(score, y)));
  const right = equal(greater(score, 0), greater(y, 0.5));
  return {
    parameters,
    symbols: new Map<string, Tensor>([['weight', w], ['bias', b]]),
    loss,
    metrics: { accuracy: mean(cast(right, 'float32')) },
    feeds(step) {
      const indices = Array.from(integers({ seed, stream: 'style-batch', step }, 0, batch, count));
      return {
        features: takeRows(features, indices),
        labels: host(Float32Array.from(indices, (i) => labels[i]!), [batch]),
      };
    },
  };
}

