/** @file One update of a method as a step of the optimiser. */
import type { HostTensor } from '../graph/dtype.js';
import { accumulate } from '../methods/backprop.js';
import type { Update } from '../methods/method.js';
import { updateAdamW } from './adamw.js';
import { updateEma } from './ema.js';
import { learningRate } from './learning-rate.js';
import { clipNorm, globalNorm, values } from './parameters.js';
import type { MetricsRow } from '../runs/rows.js';
import { nothingPending } from './train-state.js';
import type { Pending, Total, Trained, TrainState } from './train-state.js';

const added = (to: Total | undefined, sum: number, count = 1): Total => ({ sum: (to?.sum ?? 0) + sum, count: (to?.count ?? 0) + count });
const mean = ({ sum, count }: Total): number => sum / count;

/** Rewards count by the image; losses and the method's scalars by the update, as its gradient does. */
function pendingWith({ parts, reward, loss, metrics }: Pending, { rewards, loss: own, metrics: scalars = {} }: Update): Pending {
  const news = Object.entries(scalars).map(([name, value]) => [name, added(metrics[name], value)] as const);
  return {
    parts: parts + 1,
    reward: added(reward, rewards.reduce((a, b) => a + b, 0), rewards.length),
    loss: added(loss, own),
    metrics: { ...metrics, ...Object.fromEntries(news) },
  };
}

/**
 * Adds an update's gradients to those that wait; once they are as many as are accumulated, takes one step of the
 * optimiser.
 *
 * @returns what to write down of the step, over all updates that it is made from, or null while gradients wait
 * @throws Error if the gradient is not finite
 */
export function applyUpdate({ config, task, stepper }: Trained, state: TrainState, update: Update): MetricsRow | null {
  accumulate(state.gradients, update.gradients);
  state.pending = pendingWith(state.pending, update);
  const { parts, reward, loss, metrics } = state.pending;
  if (parts < config.accumulate) return null;
  for (const g of state.gradients.values()) {
    const x = values(g);
    for (let i = 0; i < x.length; i++) x[i]! /= parts;
  }
  const own = stepper.own?.parameters;
  const mine = own && new Map([...own.keys()].map((name) => [name, state.gradients.get(name)!]));
  const gradients = own ? new Map([...state.gradients].filter(([name]) => !own.has(name))) : state.gradients;
  const limited = (g: Map<string, HostTensor>): number => {
    const norm = config.clip === null ? globalNorm(g) : clipNorm(g, config.clip);
    if (!Number.isFinite(norm)) throw new Error(`the gradient became ${norm} at step ${state.step + 1}; lower --lr, or resume an earlier checkpoint`);
    return norm;
  };
  const norm = limited(gradients);
  const ownNorm = mine && limited(mine);
  const lr = learningRate(config.lr, state.step, config.steps, config.schedule, config.warmup);
  const { beta1, beta2, weightDecay } = config;
  updateAdamW(task.parameters, gradients, state.optimizer, lr, { beta1, beta2, epsilon: 1e-8, weightDecay });
  if (mine) {
    const { parameters, lr: ownLr, weightDecay: ownDecay } = stepper.own!;
    const factor = lr / config.lr; // the schedule is common
    updateAdamW(parameters, mine, state.ownOptimizer!, ownLr * factor, { beta1, beta2, epsilon: 1e-8, weightDecay: ownDecay });
  }
  if (state.average) updateEma(state.average, task.parameters, config.ema!, state.step);
  state.step += 1;
  state.gradients = new Map();
  state.pending = nothingPending();
  // The method's own scalars never hide the trainer's.
  return {
    ...Object.fromEntries(Object.entries(metrics).map(([name, t]) => [name, mean(t)])),
    step: state.step, reward: mean(reward), loss: mean(loss), gradNorm: norm,
    ...(ownNorm !== undefined && { ownGradNorm: ownNorm }), lr,
  };
}
