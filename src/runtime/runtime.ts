/** @file Compiles for a piece of work: each distinct graph once, shared by all who ask for it. */
import { openGraphKeys } from '../graph/graph-key.js';
import { graphInputs } from '../graph/onnx/export.js';
import type { Tensor } from '../graph/tensor.js';
import { compile } from './compile.js';
import type { CompileOptions, Executable, Execution } from './compile.js';
import { lookup } from './frozen.js';

/** Of what `compile` takes, what may differ from graph to graph. */
export type GraphOptions = Pick<CompileOptions, 'weights' | 'hideShapes' | 'copies'>;

export interface Runtime {
  /** Sessions opened so far. */
  readonly opened: number;
  /**
   * Compiles, or gives what was compiled before: an executable of the same graph over the same arrays of weights. It is
   * freed once all who asked for it have released it.
   *
   * @throws as `compile`
   */
  compile<O extends string>(outputs: Readonly<Record<O, Tensor>>, options?: GraphOptions): Promise<Pick<Executable<O>, 'run' | 'release'>>;
}

interface Shared {
  readonly made: Promise<Executable>;
  users: number;
}

/** @param execution where it computes, and what ends it early */
export function openRuntime(execution: Execution & Pick<CompileOptions, 'pool'> = {}): Runtime {
  const keys = openGraphKeys();
  const shared = new Map<string, Shared>();
  let opened = 0;

  function keyOf(outputs: Readonly<Record<string, Tensor>>, { weights = {}, hideShapes = false }: GraphOptions): string {
    const arrays = [...graphInputs({ outputs }).keys()].map((name) => {
      const value = lookup(weights, name);
      return value ? `${name} ${keys.identity(value.data)}` : '';
    });
    return [hideShapes, keys.of(outputs), ...arrays].join('\n');
  }

  return {
    get opened() {
      return opened;
    },
    async compile<O extends string>(outputs: Readonly<Record<O, Tensor>>, options: GraphOptions = {}) {
      const key = keyOf(outputs, options);
      let entry = shared.get(key);
      if (!entry) {
        opened += 1;
        entry = { made: compile({ outputs }, { ...execution, ...options }), users: 0 };
        shared.set(key, entry);
      }
      const { made } = entry;
      const own = entry;
      own.users += 1;
      let held = true;
      const letGo = async (free: () => Promise<void>): Promise<void> => {
        if (!held) return;
        held = false;
        own.users -= 1;
        if (own.users > 0) return;
        if (shared.get(key) === own) shared.delete(key);
        await free();
      };
      try {
        const executable = await made as Executable<O>;
        return { ...executable, release: () => letGo(() => executable.release()) };
      } catch (error) {
        await letGo(async () => {});
        throw error;
      }
    },
  };
}
