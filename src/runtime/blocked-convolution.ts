/**
 * @file Convolutions on the CPU in blocked layout: ONNX Runtime's direct convolution, which works on channels in blocks
 * of one vector register, takes about 0.8 of the time of its general one (docs/decisions.md). ONNX Runtime chooses it
 * by itself only for weights that are part of the session; here weights stay inputs that sessions share.
 */
import type { Graph } from '../graph/onnx/export.js';
import { exportOnnx } from '../graph/onnx/export.js';
import { reshape, transpose } from '../graph/ops/layout.js';
import { apply, input, resolve } from '../graph/tensor.js';
import type { Node, Tensor } from '../graph/tensor.js';
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

/** A tensor [N, C, H, W] with its channels cut into blocks and the blocks innermost: [N, C/b, H, W, b]. */
const blockChannels = (x: Tensor): Tensor => apply({ op: 'ReorderInput', domain: DOMAIN, inputs: [x] }, x.shape);

/**
 * [O, C, kh, kw] with both channel axes cut into blocks and the blocks innermost: [O/b, C/b, kh, kw, b in, b out]. The
 * conversion meant for images makes runs of b outputs, which Transpose then moves whole: two to three times as fast as
 * Transpose alone. A kernel with its channel axes swapped, as gradients use it, is read as it was before the swap.
 */
function blockedKernel(w: Tensor, b: number): Tensor {
  const [o, c, kh, kw] = w.shape as [number, number, number, number];
  const { op, attributes, inputs } = w.node;
  if (op === 'Transpose' && String(attributes['perm']) === '1,0,2,3') {
    const runs = reshape(blockChannels(resolve(inputs[0]!)), [c / b, b, o / b, kh * kw, b]);
    return reshape(transpose(runs, [2, 0, 3, 1, 4]), w.shape);
  }
  const runs = reshape(blockChannels(reshape(w, [1, o, c * kh * kw, 1])), [o / b, c / b, b, kh * kw, b]);
  return reshape(transpose(runs, [0, 1, 3, 2, 4]), w.shape);
}

/** With fewer output positions than this, putting a kernel in blocks at every run takes longer than it saves. */
const POSITIONS = 1024;

function fits({ op, domain, attributes, inputs }: Node, block: number): boolean {
  if (op !== 'Conv' || domain !== '' || attributes['group'] !== 1) return false;
  const [o, c, kh, kw] = inputs[1]!.shape as [number, number, number, number];
  return kh * kw > 1 && o % block === 0 && c % block === 0 && inputs[0]!.dtype === 'float32';
}

/**
 * Replaces each convolution that fits, and that is worth it, by the blocked one between conversions of the layout.
 *
 * @param frozen operators whose results are computed once
 */
export function blockConvolutions<G extends Graph>(graph: G, block: number, frozen: { has(node: Node): boolean }): G {
  return rewrite(graph, (node, inputs) => {
    if (!fits(node, block)) return null;
    const [x, w, b] = inputs as [Tensor, Tensor, Tensor?];
    const { shape } = node.outputs[0]!;
    if (!frozen.has(resolve(node.inputs[1]!).node) && shape[0]! * shape[2]! * shape[3]! < POSITIONS) return null;
    const call = { op: 'Conv', domain: DOMAIN, inputs: [blockChannels(x), blockedKernel(w, block), ...(b ? [b] : [])] };
    const y = apply({ ...call, attributes: node.attributes }, shape);
    return [apply({ op: 'ReorderOutput', domain: DOMAIN, inputs: [y], attributes: { channels: shape[1]! } }, shape)];
  });
}
