/** @file Classifier-free guidance about a denoiser: one network call for two conditions. */
import { concat } from '../graph/ops/layout.js';
import type { Tensor } from '../graph/tensor.js';
import { joinConditions } from '../models/denoiser.js';
import type { Condition, Denoiser } from '../models/denoiser.js';
import { conditionInputs } from '../models/pipeline.js';
import type { Pipeline } from '../models/pipeline.js';
import { guide, splitGuided } from '../schedulers/guidance.js';
import { isGuided, NEGATIVE, POSITIVE } from '../models/conditions.js';

export interface GuidedInputs {
  /** The condition of the prompts, by graph inputs. */
  readonly positive: Condition;
  /**
   * The output of a denoiser for x [B, C, h, w] at `timestep` [B].
   *
   * @param guided whether guidance is applied (if there is any), or the prompt's own output is wanted
   */
  output(denoiser: Denoiser, x: Tensor, timestep: Tensor, guided?: boolean): Tensor;
}

/** What conditions networks for `count` items come in through, and guidance by them. */
export function guidedInputs(pipeline: Pipeline, count: number, guidance: number): GuidedInputs {
  const positive = conditionInputs(pipeline, count, POSITIVE);
  const negative = conditionInputs(pipeline, count, NEGATIVE);
  return {
    positive,
    output(denoiser, x, timestep, guided = true) {
      if (!guided || !isGuided(pipeline, guidance)) return denoiser(x, timestep, positive);
      // One pass over [unconditional, conditional], the usual order.
      const both = denoiser(concat([x, x], 0), concat([timestep, timestep], 0), joinConditions(negative, positive));
      return guide(...splitGuided(both), guidance);
    },
  };
}
