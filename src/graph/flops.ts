/** @file Floating-point operations of a graph: those of its products and convolutions, which are nearly all. */
import { sizeOf } from './dtype.js';
import { schedule } from './onnx/export.js';
import type { Node, Tensor } from './tensor.js';

/** Multiplications and additions of an operator, each counted: a product of n terms is 2n. */
function flopsOfNode({ op, inputs, outputs, attributes }: Node): number {
  const [a, b] = inputs;
  const { size } = outputs[0]!;
  switch (op) {
    case 'MatMul':
    case 'FusedMatMul': return 2 * size * a!.shape.at(-1)!;
    case 'Gemm': return 2 * size * a!.shape[attributes['transA'] ? 0 : 1]!;
    case 'Conv': return 2 * size * sizeOf(b!.shape.slice(1));
    case 'ConvTranspose': return 2 * a!.size * sizeOf(b!.shape.slice(1));
    // q·kᵀ and the sum of v: [B, N, H·D], [B, M, H·D]
    case 'MultiHeadAttention': return 4 * size * b!.shape[1]!;
    default: return 0;
  }
}

/** Floating-point operations of everything that outputs depend on, what is computed again for checkpoints included. */
export function flopsOf(outputs: Readonly<Record<string, Tensor>>): number {
  return schedule(Object.values(outputs)).reduce((sum, node) => sum + flopsOfNode(node), 0);
}
