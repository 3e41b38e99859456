/** @file What is trained, as values: the trained ones, and copies of them under names, all for the inputs of one network. */
import { host } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import type { Tensor } from '../graph/tensor.js';

/** Values by input name. */
export type Values = ReadonlyMap<string, HostTensor>;

export interface Policy {
  /** Trained numbers by input name; changed in place between updates. */
  readonly parameters: Values;
  /** Their graph inputs. */
  readonly symbols: ReadonlyMap<string, Tensor>;
  /**
   * The set of values under a name, such as `old`; at first the trained ones as they are. Fed to a graph of the tuned network
   * they make it the policy that they are of: there is no other graph for it. Whoever asks for it changes it by `mixInto`
   * or by setting other tensors, not in place, and best where a round begins; checkpoints keep it. `ema` is the
   * trainer's, which sees to it if the setting `ema` is there.
   */
  copy(name: string): Map<string, HostTensor>;
  /** All that were asked for. */
  readonly copies: ReadonlyMap<string, Map<string, HostTensor>>;
}

export function openPolicy<P extends Values>(parameters: P, symbols: Policy['symbols']): Policy & { readonly parameters: P } {
  const copies = new Map<string, Map<string, HostTensor>>();
  return {
    parameters, symbols, copies,
    copy(name) {
      const known = copies.get(name)
        ?? new Map([...parameters].map(([key, t]) => [key, { ...t, data: t.data.slice() } as HostTensor]));
      copies.set(name, known);
      return known;
    },
  };
}

/** copy ← share·copy + (1 − share)·values, in new tensors. */
export function mixInto(copy: Map<string, HostTensor>, values: Values, share: number): void {
  for (const [name, { data, shape }] of copy) {
    const [x, y] = [data as Float32Array, values.get(name)!.data as Float32Array];
    copy.set(name, host(x.map((v, i) => share * v + (1 - share) * y[i]!), shape));
  }
}
