/** @file One update of a method as a step of the optimiser. */
import { meanOf } from '../evaluation/evaluation.js';
import type { HostTensor } from '../graph/dtype.js';
import type { Update } from '../methods/method.js';
import { updateAdamW } from './adamw.js';
import { updateEma } from './ema.js';
import { learningRate } from './learning-rate.js';
import { nextLossScale } from './loss-scale.js';
import { clipNorm, globalNorm } from './parameters.js';
import type { MetricsRow } from '../runs/rows.js';
import type { Trained, TrainState } from './train-state.js';

/**
 * Takes one step of the optimiser.
 *
 * @returns what to write down of it, or null where float16 overflowed: the step is skipped, and the loss scale smaller from
 *   then on
 * @throws Error if the gradient is not finite, whatever the loss scale
 */
export function applyUpdate({ config, task, rule }: Trained, state: TrainState, update: Update): MetricsRow | null {
  const own = rule.own?.parameters;
  const mine = own && new Map([...own.keys()].map((name) => [name, update.gradients.get(name)!]));
  const gradients = new Map([...update.gradients].filter(([name]) => !own?.has(name)));
  const limited = (g: Map<string, HostTensor>): number => (config.clip === null ? globalNorm(g) : clipNorm(g, config.clip));
  const norm = limited(gradients);
  const ownNorm = mine && limited(mine);
  const finite = Number.isFinite(norm + (ownNorm ?? 0));
  const scale = state.lossScale && nextLossScale(state.lossScale, finite);
  if (!finite && !scale) {
    throw new Error(`the gradient became ${norm + (ownNorm ?? 0)} at step ${state.step + 1}; lower --lr, or resume an earlier checkpoint`);
  }
  const used = state.lossScale?.scale;
  if (scale && scale.scale !== used) task.setLossScale!(scale.scale);
  state.lossScale = scale;
  if (!finite) return null;
  const lr = learningRate(config.lr, state.step, config.steps, config.schedule, config.warmup);
  const { beta1, beta2, weightDecay } = config;
  updateAdamW(task.parameters, gradients, state.optimizer, lr, { beta1, beta2, epsilon: 1e-8, weightDecay });
  if (mine) {
    const { parameters, lr: ownLr, weightDecay: ownDecay } = rule.own!;
    const factor = lr / config.lr; // the schedule is common
    updateAdamW(parameters, mine, state.ownOptimizer!, ownLr * factor, { beta1, beta2, epsilon: 1e-8, weightDecay: ownDecay });
  }
  if (config.ema !== null) updateEma(task.copy('ema'), task.parameters, config.ema, state.step);
  state.step += 1;
  // The method's own scalars never hide the trainer's.
  return {
    ...update.metrics,
    step: state.step, reward: meanOf(update.rewards), loss: update.loss, gradNorm: norm,
    ...(ownNorm !== undefined && { ownGradNorm: ownNorm }), ...(used !== undefined && { lossScale: used }), lr,
  };
}
