/**
 * @file Training a reward model: an image encoder with one output, the log-odds that a picture is one of the better
 * kind (real, or liked) and not one of the worse (made by a model, or disliked).
 */
import { grad } from '../../graph/grad.js';
import { add, cast, div, greater, mul, neg, softplus, square, sub } from '../../graph/ops/arithmetic.js';
import { concat, narrow } from '../../graph/ops/layout.js';
import { mean, sum } from '../../graph/ops/reduce.js';
import { input } from '../../graph/tensor.js';
import type { HostTensor } from '../../graph/dtype.js';
import type { Tensor } from '../../graph/tensor.js';
import { visionScore } from '../../models/clip.js';
import type { ClipVisionConfig } from '../../models/config.js';
import { rootScope, trainableWeights } from '../../nn/scope.js';
import { integers } from '../../random/random.js';
import { epochBatch } from './dataset.js';
import type { Pictures } from './dataset.js';
import type { Trainable } from './fit.js';
import { jittered } from './jitter.js';
import type { Jitter } from './jitter.js';

export interface RewardModelOptions extends Jitter {
  config: ClipVisionConfig;
  parameters: Map<string, HostTensor>;
  /** Pictures of either kind in a step. */
  batch: number;
  seed: number;
  /** Weight of ‖∂r/∂x‖², see `rewardModel`. */
  gradientPenalty: number;
  /** Picture i of the better ones was preferred to picture i of the worse ones. */
  paired?: boolean;
}

/**
 * mean log(1 + e^−r(better)) + mean log(1 + e^r(worse)) + γ · mean ‖∂r/∂x‖²; of pairs (Bradley and
 * Terry 1952) the first two are mean log(1 + e^(r(worse) − r(better))), which asks nothing of pictures of other pairs. The last term (Mescheder et al. 2018, R1,
 * here on both kinds) is for what comes after: a reward whose gradient is followed must not rise steeply in directions
 * that nobody sees.
 */
export function rewardModel(better: Pictures, worse: Pictures, options: RewardModelOptions): Trainable {
  const { config, parameters, batch, seed, gradientPenalty, paired = false } = options;
  const symbols = new Map<string, Tensor>();
  const scope = rootScope(trainableWeights('reward/', (name, t) => symbols.set(name, t)));
  const shape = [batch, 3, better.size, better.size];
  const images = concat([input('better', shape), input('worse', shape)], 0); // [2B, 3, S, S]
  const score = visionScore(scope, config, images); // [2B]
  const [good, bad] = [narrow(score, 0, 0, batch), narrow(score, 0, batch, 2 * batch)];
  const error = paired ? mean(softplus(sub(bad, good))) : add(mean(softplus(neg(good))), mean(softplus(bad)));
  const slope = div(sum(square(grad(sum(score), [images])[0]!)), 2 * batch);
  const right = (r: Tensor): Tensor => mean(cast(greater(r, 0), 'float32'));
  return {
    parameters,
    symbols,
    loss: gradientPenalty === 0 ? error : add(error, mul(slope, gradientPenalty)),
    metrics: { accuracy: paired ? right(sub(good, bad)) : mul(add(right(good), right(neg(bad))), 0.5), slope },
    feeds(step) {
      const key = { seed, stream: 'reward-model', step };
      const drawn = epochBatch(key, step, better.count, batch);
      return {
        better: jittered(better, drawn, options, { ...key, stream: 'better' }),
        worse: jittered(worse, paired ? drawn : Array.from(integers(key, 1, batch, worse.count)), options, { ...key, stream: 'worse' }),
      };
    },
  };
}
