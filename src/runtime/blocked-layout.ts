/**
 * @file The blocked layout of ONNX Runtime's direct CPU convolutions (its domain `com.microsoft.nchwc`): channels cut into
 * blocks of one vector register, the blocks innermost. Shapes stay those of the plain layout; only the order in memory
 * differs, so that operators element by element, and joining along channels, work on it unchanged.
 */
import { exportOnnx } from '../graph/onnx/export.js';
import { concat, reshape, transpose } from '../graph/ops/layout.js';
import { apply, input, resolve } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import { createSession, toDevice } from './device.js';

export const BLOCKED = 'com.microsoft.nchwc';

/** Asks ONNX Runtime for this machine's block by giving it 4 channels, the fewest it takes: it rounds them up to a whole block. */
async function probe(): Promise<number | null> {
  const y = blockChannels(input('x', [1, 4, 1, 1]));
  try {
    const session = await createSession(exportOnnx({ outputs: { y } }), 'cpu', { logSeverityLevel: 4, intraOpNumThreads: 1 });
    const { y: result } = await session.run({ x: toDevice({ data: new Float32Array(4), shape: y.shape, dtype: 'float32' }) });
    await session.release();
    return result!.dims[1]!;
  } catch {
    return null;
  }
}

let known: Promise<number | null> | undefined;

/**
 * Channels in a block on this machine: 16 with AVX-512, 8 on every other x64 processor; null where ONNX Runtime has no
 * blocked kernels (its npm package for arm64).
 */
export const channelBlock = (): Promise<number | null> => (known ??= probe());

/** x [N, C, H, W] as [N, C/b, H, W, b] in memory. */
export const blockChannels = (x: Tensor): Tensor => apply({ op: 'ReorderInput', domain: BLOCKED, inputs: [x] }, x.shape);

/** The plain layout again. */
export const plainChannels = (x: Tensor): Tensor =>
  apply({ op: 'ReorderOutput', domain: BLOCKED, inputs: [x], attributes: { channels: x.shape[1]! } }, x.shape);

/**
 * [O, C, kh, kw] with both channel axes cut into blocks and the blocks innermost: [O/b, C/b, kh, kw, b in, b out]. The
 * conversion meant for images makes runs of b outputs, which Transpose then moves whole: two to three times as fast as
 * Transpose alone. A kernel with its channel axes swapped, as gradients use it, is read as it was before the swap.
 */
export function blockedKernel(w: Tensor, b: number): Tensor {
  const [o, c, kh, kw] = w.shape as [number, number, number, number];
  const { op, attributes, inputs } = w.node;
  if (op === 'Transpose' && String(attributes['perm']) === '1,0,2,3') {
    const runs = reshape(blockChannels(resolve(inputs[0]!)), [c / b, b, o / b, kh * kw, b]);
    return reshape(transpose(runs, [2, 0, 3, 1, 4]), w.shape);
  }
  const runs = reshape(blockChannels(reshape(w, [1, o, c * kh * kw, 1])), [o / b, c / b, b, kh * kw, b]);
  return reshape(transpose(runs, [0, 1, 3, 2, 4]), w.shape);
}

/**
 * Puts rows and columns in turn: pictures of even and odd rows, even and odd columns of each [N, C, H, W] become one
 * [N, C, 2H, 2W]. All in blocked layout.
 */
export function interleave(quarters: readonly (readonly Tensor[])[], block: number): Tensor {
  const [n, c, h, w] = quarters[0]![0]!.shape as [number, number, number, number];
  const rows = quarters.map((pair) => concat(pair.map((t) => reshape(t, [(n * c * h * w) / block, block])), 1));
  return reshape(concat(rows.map((t) => reshape(t, [(n * c * h) / block, 2 * w * block])), 1), [n, c, 2 * h, 2 * w]);
}
