/**
 * @file Keeps shapes from ONNX Runtime, so that memory is free as soon as nothing needs it. Its planner gives a tensor's
 * buffer to the next tensor of the very same known shape, however late that comes, and holds the buffer until then: what
 * a forward pass used is held for the backward pass. A tensor of unknown shape is allocated when it is made and freed
 * after its last use (docs/decisions.md has the measurement).
 */
import { host } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import type { Graph } from '../graph/onnx/export.js';
import { add } from '../graph/ops/arithmetic.js';
import { applyMany, input, resolve } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import { rewrite } from './rewrite.js';

/** The input that makes a constant shape one that only a run knows; its name is none that a model has. */
const NAME = 'zero that hides shapes';

/** What to feed such a graph beside its own inputs: 0. A map, for input names come from files too. */
export const HIDING: ReadonlyMap<string, HostTensor> = new Map([[NAME, host(new BigInt64Array(1), [1], 'int64')]]);

/** The operators that say a shape in numbers; all others follow from their inputs. */
const SHAPED = new Set(['Reshape', 'Expand']);

/** The same computation, to be fed with `HIDING` as well, none of whose large tensors has a shape that its file tells. */
export function hideShapes<G extends Graph>(graph: G): G {
  const zero = input(NAME, [1], 'int64');
  const hidden = new Map<string, Tensor>();
  const hide = (shape: Tensor): Tensor => {
    const key = resolve(shape).node.value!.data.join();
    const made = hidden.get(key) ?? add(shape, zero);
    hidden.set(key, made);
    return made;
  };
  const rewritten = rewrite(graph, (node, [x, shape, ...rest]) => {
    if (!SHAPED.has(node.op) || node.domain !== '' || resolve(shape!).node.op !== '@constant' || shape!.size === 0) return null;
    return applyMany({ ...node, inputs: [x!, hide(shape!), ...rest], vjps: [] }, node.outputs);
  });
  return { ...rewritten, hideInputShapes: true };
}
