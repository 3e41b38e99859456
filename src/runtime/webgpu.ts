/** @file What ONNX Runtime's WebGPU provider takes on and then cannot do, or does wrong on some adapters. */
import { exportOnnx } from '../graph/onnx/export.js';
import type { Graph } from '../graph/onnx/export.js';
import { add, cast, sub } from '../graph/ops/arithmetic.js';
import { unfusedAttention } from '../graph/ops/fused-attention.js';
import { mean } from '../graph/ops/reduce.js';
import { apply, applyMany, float, input } from '../graph/tensor.js';
import type { Node, Tensor } from '../graph/tensor.js';
import { createSession, toDevice } from './device.js';
import { rewrite } from './rewrite.js';

/** Scores held at once where attention is not fused. */
const BLOCK_BYTES = 64 * 2 ** 20;

const isAttention = (node: Node): boolean => node.op === 'MultiHeadAttention' && node.domain === 'com.microsoft';

function unfused(node: Node, [q, k, v]: readonly (Tensor | null)[]): Tensor {
  const { num_heads: heads, scale } = node.attributes as { num_heads: number; scale: { float: number } };
  return unfusedAttention(q!, k!, v!, heads, scale.float, BLOCK_BYTES);
}

/**
 * Whether fused attention is right on this adapter. With 32 queries and more, 1.30 leaves out keys on SwiftShader, and
 * did on some NVIDIA cards (microsoft/onnxruntime pull request 28520).
 */
async function probe(): Promise<boolean> {
  const [tokens, width] = [75, 16];
  const x = input('x', [1, tokens, width]);
  const call = { op: 'MultiHeadAttention', domain: 'com.microsoft', inputs: [x, x, x], attributes: { num_heads: 2, scale: float(1) } };
  const fused = apply(call, x.shape);
  const session = await createSession(exportOnnx({ outputs: { fused, plain: unfused(fused.node, [x, x, x]) } }), 'webgpu', { logSeverityLevel: 4 });
  const data = Float32Array.from({ length: tokens * width }, (_, i) => ((i * 37) % 101) / 101 - 0.5);
  const results = await session.run({ x: toDevice({ data, shape: x.shape, dtype: 'float32' }) });
  await session.release();
  const [a, b] = [results['fused']!.data as Float32Array, results['plain']!.data as Float32Array];
  return a.every((v, i) => Math.abs(v - b[i]!) < 1e-3);
}

/**
 * The normalisation of rows whose mean has been taken off. 1.30 takes the variance as E[x²] − E[x]², which has lost all
 * digits where the mean is a thousand deviations (docs/upstream.md); rows around zero it gets right.
 */
function centred(node: Node, [x, ...rest]: readonly (Tensor | null)[]): readonly Tensor[] {
  const { axis = -1 } = node.attributes as { axis?: number };
  const mu = mean(x!, { axes: x!.shape.map((_, i) => i).slice(axis), keepDims: true });
  const [y, remainder, ...inverse] = applyMany({ ...node, inputs: [sub(x!, mu), ...rest], vjps: [] }, node.outputs);
  return remainder ? [y!, add(remainder, mu), ...inverse] : [y!];
}

let known: Promise<boolean> | undefined;

/** The graph without what fails or is wrong on this machine's adapter. */
export async function avoidGaps<G extends Graph>(graph: G): Promise<G> {
  const fusedIsRight = await (known ??= probe());
  return rewrite(graph, (node, inputs) => {
    if (isAttention(node) && !fusedIsRight) return [unfused(node, inputs)];
    if (node.op === 'LayerNormalization') return centred(node, inputs);
    if (node.op !== 'MaxPool' || node.outputs.length === 1) return null;
    // The places of maxima, which gradients ask for, fail at run time ("the Indices output is not supported yet"). In
    // double precision, which no GPU has, the operator stays on the CPU.
    const [values, places] = node.outputs as [Tensor, Tensor];
    const x = inputs[0]!;
    const wide = applyMany({ ...node, inputs: [cast(x, 'float64')], vjps: [] }, [{ shape: values.shape, dtype: 'float64' }, places]);
    return [cast(wide[0]!, x.dtype), wide[1]!];
  });
}
