/**
 * @file Gradients through sampling: one network call at a time, each computed again from its stored input, so that
 * memory is the same for one step and for fifty (Clark et al. 2024, §3).
 */
import type { HostTensor } from '../graph/dtype.js';
import { vjp } from '../graph/grad.js';
import type { Tensor } from '../graph/tensor.js';
import { pause } from '../host/pause.js';
import { combine } from '../schedulers/linear.js';
import type { Step } from '../schedulers/plan.js';
import { stepFeed } from '../schedulers/step.js';
import { forItems } from './rollout.js';
import type { Trajectory } from './rollout.js';
import { sampleInput, samplesOf, stepsInput } from './task.js';
import type { Task } from './task.js';

export interface Pullback {
  /** ⟨cotangent, ∂ output / ∂ x⟩ [B, C, h, w]. */
  readonly x: HostTensor;
  /** ⟨cotangent, ∂ output / ∂ θ⟩ by input name. */
  readonly parameters: Map<string, HostTensor>;
}

export interface Backprop {
  /** Pulls a gradient by the network's output back to its input and parameters. */
  network(x: HostTensor, steps: Step | readonly Step[], cotangent: HostTensor, prompts: readonly string[]): Promise<Pullback>;
  release(): Promise<void>;
}

/**
 * Compiles the backward pass of one network call.
 *
 * @param jacobian whether the gradient by x is wanted; without it `x` comes back as zeros and costs nothing
 * @param guided whether the network's output is guided, as in sampling
 */
export async function openBackprop(task: Task, { jacobian = true, guided = true } = {}): Promise<Backprop> {
  const [x, cotangent] = [sampleInput(task, 'x'), sampleInput(task, 'cotangent')];
  const output = task.network(x, stepsInput(task, 'step'), 'tuned', { guided });
  const names = [...task.symbols.keys()];
  const wrt = [...task.symbols.values(), ...(jacobian ? [x] : [])];
  const grads = vjp([output], wrt, [cotangent]);
  const outputs: Record<string, Tensor> = Object.fromEntries(names.map((name, i) => [`grad/${name}`, grads[i]!]));
  const over = new Map(Object.keys(outputs).map((name) => [name, 'sum' as const]));
  if (jacobian) outputs['grad/x'] = grads.at(-1)!;
  const executable = await task.compile(outputs, { over });
  return {
    async network(at, steps, g, prompts) {
      const results = await executable.run({ x: at, step: stepFeed(forItems(prompts.length, steps)), cotangent: g }, prompts);
      const gx = results['grad/x'] ?? samplesOf(task, new Float32Array(at.data.length));
      return { x: gx, parameters: new Map(names.map((name) => [name, results[`grad/${name}`]!])) };
    },
    release: () => executable.release(),
  };
}

/** Adds b into a, name by name, in place; takes b's tensors where a has none. */
export function accumulate(a: Map<string, HostTensor>, b: ReadonlyMap<string, HostTensor>): void {
  for (const [name, t] of b) {
    const known = a.get(name);
    if (!known) {
      a.set(name, t);
      continue;
    }
    const [x, y] = [known.data as Float32Array, t.data as Float32Array];
    for (let i = 0; i < x.length; i++) x[i]! += y[i]!;
  }
}

export interface ThroughSteps {
  /** Whether the network call at step i carries gradient. */
  readonly trained: (i: number) => boolean;
  /** Whether gradient also flows through the network's input; without it only along the sampler's own line x' = aₓ·x + … */
  readonly jacobian: boolean;
}

/**
 * ∂ loss / ∂ θ, given ∂ loss / ∂ x at the end of the first `g.steps` steps of a trajectory. Walks the chain rule of
 * x_{i+1} = meanFromX·x_i + meanFromOutput·ε_θ(x_i) + std·z from the last step to the first that carries gradient.
 */
export async function throughSteps(
  task: Task,
  backprop: Backprop,
  trajectory: Trajectory,
  gradient: HostTensor,
  { trained, jacobian }: ThroughSteps,
): Promise<Map<string, HostTensor>> {
  const total = new Map<string, HostTensor>();
  const { steps, x, prompts } = trajectory;
  const first = steps.findIndex((_, i) => trained(i));
  let g = gradient.data as Float32Array;
  for (let i = steps.length - 1; i >= first && first >= 0; i--) {
    const step = steps[i]!;
    let through: Float32Array | null = null;
    if (trained(i)) {
      const cotangent = samplesOf(task, combine([step.meanFromOutput, g]));
      const pulled = await backprop.network(x[i]!, step, cotangent, prompts);
      accumulate(total, pulled.parameters);
      if (jacobian) through = pulled.x.data as Float32Array;
      await pause();
    }
    g = through ? combine([step.meanFromX, g], [1, through]) : combine([step.meanFromX, g]);
  }
  return total;
}
