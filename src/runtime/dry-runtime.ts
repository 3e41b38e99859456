/** @file A runtime that opens no session: it foretells what each graph would take, and its executables give zeros. */
import { arrayType, sizeOf } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { openGraphKeys } from '../graph/graph-key.js';
import type { Tensor } from '../graph/tensor.js';
import { throwIfAborted } from './compile.js';
import type { Execution } from './compile.js';
import { graphMemory } from './graph-memory.js';
import type { GraphMemory } from './graph-memory.js';
import type { GraphOptions, Runtime } from './runtime.js';

export interface DryRuntime extends Runtime {
  /** What each distinct graph that was asked for would take, by its outputs. */
  readonly graphs: ReadonlyMap<string, GraphMemory>;
}

/** The names of a graph's outputs, shortened. */
const titleOf = (outputs: Readonly<Record<string, Tensor>>): string => {
  const names = Object.keys(outputs);
  return names.length > 3 ? `${names.slice(0, 2).join(', ')} and ${names.length - 2} more` : names.join(', ');
};

const zerosOf = ({ shape, dtype }: Tensor): HostTensor => ({ data: new (arrayType(dtype) as new (n: number) => HostTensor['data'])(sizeOf(shape)), shape, dtype });

export function openDryRuntime(execution: Execution): DryRuntime {
  const keys = openGraphKeys();
  const graphs = new Map<string, GraphMemory>();
  const known = new Set<string>();
  return {
    graphs,
    get opened() {
      return known.size;
    },
    async compile<O extends string>(outputs: Readonly<Record<O, Tensor>>, options: GraphOptions = {}) {
      const key = `${options.hideShapes === true} ${keys.of(outputs)}`;
      if (!known.has(key)) {
        await throwIfAborted(execution.signal);
        known.add(key);
        const title = titleOf(outputs);
        const memory = await graphMemory({ outputs }, { ...execution, ...options });
        graphs.set(graphs.has(title) ? `${title} (${known.size})` : title, memory);
      }
      const names = Object.keys(outputs) as O[];
      return {
        run: async () => Object.fromEntries(names.map((name) => [name, zerosOf(outputs[name])])) as never,
        release: async () => {},
      };
    },
  };
}
