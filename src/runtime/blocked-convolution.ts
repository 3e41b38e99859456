/**
 * @file Convolutions on the CPU in blocked layout: ONNX Runtime's direct convolution, which works on channels in blocks
 * of one vector register, takes about 0.8 of the time of its general one, and Winograd's form of it 0.5 to 0.7 of that
 * (docs/decisions.md). ONNX Runtime chooses the direct one by itself only for weights that are part of the session; here
 * weights stay inputs that sessions share.
 */
import type { Graph } from '../graph/onnx/export.js';
import { apply, resolve } from '../graph/tensor.js';
import type { Node, Tensor } from '../graph/tensor.js';
import { BLOCKED, blockChannels, blockedKernel, plainChannels } from './blocked-layout.js';
import { suitsPhases, transposedByPhases } from './blocked-transpose.js';
import { rewrite } from './rewrite.js';
import { depthwiseKernels, suitsWinograd, winograd } from './winograd.js';

/** With fewer output positions than this, putting a kernel in blocks at every run takes longer than it saves. */
const POSITIONS = 1024;

function fits({ op, domain, attributes, inputs }: Node, block: number): boolean {
  if (op !== 'Conv' || domain !== '' || attributes['group'] !== 1) return false;
  const [o, c, kh, kw] = inputs[1]!.shape as [number, number, number, number];
  return kh * kw > 1 && o % block === 0 && c % block === 0 && inputs[0]!.dtype === 'float32';
}

/**
 * Replaces each convolution that fits, and that is worth it, by a blocked one between conversions of the layout.
 *
 * @param frozen operators whose results are computed once
 */
export function blockConvolutions<G extends Graph>(graph: G, block: number, frozen: { has(node: Node): boolean }): G {
  const taps = depthwiseKernels(block);
  return rewrite(graph, (node, inputs) => {
    const transposed = suitsPhases(node, block);
    if (!transposed && !fits(node, block)) return null;
    const [x, w, b] = inputs as [Tensor, Tensor, Tensor?];
    const { shape } = node.outputs[0]!;
    const once = frozen.has(resolve(node.inputs[1]!).node);
    if (transposed) return once ? [plainChannels(transposedByPhases(node, blockChannels(x), w, b, block))] : null;
    if (once && suitsWinograd(node)) return [plainChannels(winograd(blockChannels(x), w, b, block, taps))];
    if (!once && shape[0]! * shape[2]! * shape[3]! < POSITIONS) return null;
    const call = { op: 'Conv', domain: BLOCKED, inputs: [blockChannels(x), blockedKernel(w, block), ...(b ? [b] : [])] };
    return [plainChannels(apply({ ...call, attributes: node.attributes }, shape))];
  });
}
