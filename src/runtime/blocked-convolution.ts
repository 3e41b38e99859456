/**
 * @file Convolutions on the CPU in blocked layout: ONNX Runtime's direct convolution, which works on channels in blocks
 * of one vector register, takes about 0.8 of the time of its general one (docs/decisions.md). ONNX Runtime chooses it
 * by itself only for weights that are part of the session; here weights stay inputs that sessions share.
 */
import type { Graph } from '../graph/onnx/export.js';
import { exportOnnx } from '../graph/onnx/export.js';
import { reshape, transpose } from '../graph/ops/layout.js';
import { apply, input } from '../graph/tensor.js';
import type { Attributes, Node, Tensor } from '../graph/tensor.js';
import { createSession, toDevice } from './device.js';
import { rewrite } from './rewrite.js';

const DOMAIN = 'com.microsoft.nchwc';

/** Asks ONNX Runtime for this machine's block by giving it 8 channels: it rounds them up to whole blocks. */
async function probe(): Promise<number | null> {
  const x = input('x', [1, 8, 1, 1]);
  const y = apply({ op: 'ReorderInput', domain: DOMAIN, inputs: [x] }, x.shape);
  try {
    const session = await createSession(exportOnnx({ outputs: { y } }), 'cpu', { logSeverityLevel: 4, intraOpNumThreads: 1 });
    const { y: result } = await session.run({ x: toDevice({ data: new Float32Array(8), shape: x.shape, dtype: 'float32' }) });
    await session.release();
    return result!.dims[1]!;
  } catch {
    return null;
  }
}

let known: Promise<number | null> | undefined;

/** Channels in a block on this machine: 16 with AVX-512, 8 with AVX2; null where ONNX Runtime has no blocked kernels. */
export const channelBlock = (): Promise<number | null> => (known ??= probe());

/** [O, C, kh, kw] with both channel axes cut into blocks and the blocks innermost: [O/b, C/b, kh, kw, b in, b out]. */
function blockedKernel(w: Tensor, block: number): Tensor {
  const [o, c, kh, kw] = w.shape as [number, number, number, number];
  const cut = reshape(w, [o / block, block, c / block, block, kh, kw]);
  return reshape(transpose(cut, [0, 2, 4, 5, 3, 1]), w.shape);
}

function fits({ op, domain, attributes, inputs }: Node, block: number): boolean {
  if (op !== 'Conv' || domain !== '' || attributes['group'] !== 1) return false;
  const [o, c, kh, kw] = inputs[1]!.shape as [number, number, number, number];
  return kh * kw > 1 && o % block === 0 && c % block === 0 && inputs[0]!.dtype === 'float32';
}

/** Replaces each convolution that fits by the blocked one, between conversions of the layout. */
export function blockConvolutions<G extends Graph>(graph: G, block: number): G {
  return rewrite(graph, (node, inputs) => {
    if (!fits(node, block)) return null;
    const [x, w, b] = inputs as [Tensor, Tensor, Tensor?];
    const shape = node.outputs[0]!.shape;
    const step = (op: string, from: Tensor[], to: readonly number[], attributes: Attributes = {}): Tensor =>
      apply({ op, domain: DOMAIN, inputs: from, attributes }, to);
    const blocked = step('ReorderInput', [x], x.shape);
    const y = step('Conv', [blocked, blockedKernel(w, block), ...(b ? [b] : [])], shape, node.attributes);
    return [step('ReorderOutput', [y], shape, { channels: shape[1]! })];
  });
}
