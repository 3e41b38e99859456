/** @file A scalar loss as a compiled graph, with its gradient by everything that is trained. */
import type { HostTensor } from '../graph/dtype.js';
import { grad } from '../graph/grad.js';
import type { Tensor } from '../graph/tensor.js';
import type { Feeds } from '../runtime/compile.js';
import { accumulate } from './backprop.js';
import type { Task } from './task.js';

export interface LossValue<E extends string> {
  readonly loss: number;
  /** ∂ loss / ∂ θ by input name. */
  readonly gradients: Map<string, HostTensor>;
  readonly extras: Readonly<Record<E, HostTensor>>;
}

export interface LossGraph<E extends string> {
  run(feeds: Feeds, prompts: readonly string[]): Promise<LossValue<E>>;
  release(): Promise<void>;
}

/**
 * @param loss [] in `symbols`
 * @param extras further outputs of the same graph
 * @param calls how often a sample goes forward through the network in it, guidance counted twice
 * @param symbols what is trained; the task's parameters, unless a method has more
 */
export async function openLoss<E extends string>(
  task: Task, loss: Tensor, extras: Readonly<Record<E, Tensor>>, calls: number, symbols = task.symbols,
): Promise<LossGraph<E>> {
  const names = [...symbols.keys()];
  const gradients = grad(loss, [...symbols.values()]);
  const byName = Object.fromEntries(names.map((name, i) => [`grad/${name}`, gradients[i]!]));
  const others = Object.entries<Tensor>(extras);
  const outputs = { loss, ...byName, ...Object.fromEntries(others.map(([name, t]) => [`extra/${name}`, t])) };
  const executable = await task.compile<string>(outputs);
  return {
    async run(feeds, prompts) {
      const results = await executable.run(feeds, prompts);
      task.counts.denoiserCalls += calls * task.batch;
      return {
        loss: results['loss']!.data[0] as number,
        gradients: new Map(names.map((name) => [name, results[`grad/${name}`]!])),
        extras: Object.fromEntries(others.map(([name]) => [name, results[`extra/${name}`]!])) as Record<E, HostTensor>,
      };
    },
    release: () => executable.release(),
  };
}

/** Mean loss and gradients of the parts of an update, added as they come. */
export function meanOfParts(): { add(part: Pick<LossValue<never>, 'loss' | 'gradients'>): void; mean(): { loss: number; gradients: Map<string, HostTensor> } } {
  const gradients = new Map<string, HostTensor>();
  let [loss, count] = [0, 0];
  return {
    add(part) {
      accumulate(gradients, part.gradients);
      loss += part.loss;
      count += 1;
    },
    mean() {
      for (const { data } of gradients.values()) {
        const x = data as Float32Array;
        for (let i = 0; i < x.length; i++) x[i]! /= count;
      }
      return { loss: loss / count, gradients };
    },
  };
}
