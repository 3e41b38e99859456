/** @file A scalar loss as a compiled graph, with its gradient by everything that is trained. */
import type { HostTensor } from '../graph/dtype.js';
import { grad } from '../graph/grad.js';
import type { Tensor } from '../graph/tensor.js';
import type { Feeds } from '../runtime/compile.js';
import { accumulate } from './backprop.js';
import type { GraphFacts } from './cuts.js';
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

export interface LossFacts<E extends string> extends Pick<GraphFacts, 'calls' | 'feeds'> {
  /** What the loss is over the items of the graph, and so over those of a round. */
  readonly over: 'sum' | 'mean';
  /** Further outputs of the same graph: rows for items, or numbers [] over the items as the loss is. */
  readonly extras?: Readonly<Record<E, Tensor>>;
  /** What is trained; the task's parameters, unless a method has more. */
  readonly symbols?: ReadonlyMap<string, Tensor>;
  /** Inputs with a value for each item whose gradients are wanted too, by name. */
  readonly byItem?: ReadonlyMap<string, Tensor>;
}

/** @param loss [] in `symbols` */
export async function openLoss<E extends string = never>(
  task: Task, loss: Tensor,
  { over, extras = {} as Readonly<Record<E, Tensor>>, symbols = task.symbols, byItem = new Map(), ...facts }: LossFacts<E>,
): Promise<LossGraph<E>> {
  const names = [...symbols.keys(), ...byItem.keys()];
  const gradients = grad(loss, [...symbols.values(), ...byItem.values()]);
  const byName = Object.fromEntries(names.map((name, i) => [`grad/${name}`, gradients[i]!]));
  const others = Object.entries<Tensor>(extras);
  const outputs = { loss, ...byName, ...Object.fromEntries(others.map(([name, t]) => [`extra/${name}`, t])) };
  const shared = ['loss', ...[...symbols.keys()].map((name) => `grad/${name}`), ...others.filter(([, t]) => t.rank === 0).map(([name]) => `extra/${name}`)];
  const executable = await task.compile<string>(outputs, { ...facts, over: new Map(shared.map((name) => [name, over])) });
  return {
    async run(feeds, prompts) {
      const results = await executable.run(feeds, prompts);
      // A mean over the graph's items, of which the round has more.
      const share = over === 'mean' ? task.microbatch / prompts.length : 1;
      if (share !== 1) for (const name of byItem.keys()) results[`grad/${name}`] = scaled(results[`grad/${name}`]!, share);
      return {
        loss: results['loss']!.data[0] as number,
        gradients: new Map(names.map((name) => [name, results[`grad/${name}`]!])),
        extras: Object.fromEntries(others.map(([name]) => [name, results[`extra/${name}`]!])) as Record<E, HostTensor>,
      };
    },
    release: () => executable.release(),
  };
}

const scaled = (t: HostTensor, factor: number): HostTensor => ({ ...t, data: (t.data as Float32Array).map((v) => v * factor) });

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
