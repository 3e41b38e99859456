/** @file A block as an executable with made-up weights and inputs. */
import type { HostTensor } from '../src/graph/dtype.js';
import { sizeOf } from '../src/graph/dtype.js';
import { vjp } from '../src/graph/grad.js';
import { graphInputs } from '../src/graph/onnx/export.js';
import type { Graph } from '../src/graph/onnx/export.js';
import { input } from '../src/graph/tensor.js';
import { compile } from '../src/runtime/compile.js';
import type { CompileOptions, Executable, Feeds } from '../src/runtime/compile.js';
import { Parameters } from './blocks.js';
import type { Block } from './blocks.js';
import type { Mode } from './cases.js';

/** Numbers spread over ±1/√fan-in (±1 for vectors), the same at every call. */
function madeUp(shape: readonly number[]): HostTensor {
  const data = new Float32Array(sizeOf(shape));
  const scale = shape.length > 1 ? 1 / Math.sqrt(sizeOf(shape.slice(1))) : 1;
  let state = data.length;
  for (let i = 0; i < data.length; i++) {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    data[i] = scale * (state / 0x40000000 - 1);
  }
  return { data, shape, dtype: 'float32' };
}

export interface Trial {
  readonly graph: Graph;
  readonly weights: ReadonlyMap<string, HostTensor>;
  readonly feeds: Feeds;
}

/** The graph of a block and numbers for all its inputs. */
export function trial(block: Block, mode: Mode): Trial {
  const from = new Parameters();
  const x = input('x', block.shape);
  const y = block.trace(x, from, '');
  const grads = mode === 'training' ? vjp([y], [x, ...from.trained], [input('g', y.shape)]) : [];
  const outputs = Object.fromEntries([y, ...grads].map((t, i) => [`out${i}`, t]));
  const weights = new Map<string, HostTensor>();
  const feeds: Record<string, HostTensor> = {};
  for (const [name, t] of graphInputs({ outputs })) {
    if (t.node.frozen) weights.set(name, madeUp(t.shape));
    else feeds[name] = madeUp(t.shape);
  }
  return { graph: { outputs }, weights, feeds };
}

export const open = ({ graph, weights }: Trial, options: CompileOptions = {}): Promise<Executable> => compile(graph, { weights, ...options });
