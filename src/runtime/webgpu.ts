/** @file What ONNX Runtime's WebGPU provider takes on and then cannot do, or does wrong on some adapters. */
import { host, sizeOf } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
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

/** One call of attention: images' queries, keys and values [1, tokens, heads · width]. */
interface AttentionCase {
  readonly queries: number;
  readonly keys: number;
  readonly width: number;
}

/**
 * A small self-attention first, which software drivers fail at little cost; then the head widths of Stable Diffusion
 * over a prompt's 77 states, as kernels differ by width and number of keys.
 */
const ATTENTION_CASES: readonly AttentionCase[] = [
  { queries: 75, keys: 75, width: 8 }, ...[40, 64, 80, 160].map((width) => ({ queries: 64, keys: 77, width })),
];

/** Fused attention and what stands for it where it is wrong, and their feeds. */
function attentionCase({ queries, keys, width }: AttentionCase): { fused: Tensor; plain: Tensor; feeds: Record<string, HostTensor> } {
  const heads = 2;
  const shapes = { q: [1, queries, heads * width], k: [1, keys, heads * width], v: [1, keys, heads * width] };
  const inputs = Object.entries(shapes).map(([name, shape]) => input(name, shape));
  const attributes = { num_heads: heads, scale: float(width ** -0.5) };
  const fused = apply({ op: 'MultiHeadAttention', domain: 'com.microsoft', inputs, attributes }, shapes.q);
  const feeds = Object.fromEntries(Object.entries(shapes).map(([name, shape], at): [string, HostTensor] =>
    [name, host(Float32Array.from({ length: sizeOf(shape) }, (_, i) => (((i + at) * 37) % 101) / 50 - 1), shape)]));
  return { fused, plain: unfused(fused.node, inputs), feeds };
}

/**
 * Whether fused attention is right on this adapter. With 32 queries and more, 1.30 leaves out keys on SwiftShader, and
 * did on some NVIDIA cards (microsoft/onnxruntime pull request 28520).
 */
async function probe(): Promise<boolean> {
  for (const one of ATTENTION_CASES) {
    const { fused, plain, feeds } = attentionCase(one);
    const session = await createSession(exportOnnx({ outputs: { fused, plain } }), 'webgpu', { logSeverityLevel: 4 });
    const results = await session.run(Object.fromEntries(Object.entries(feeds).map(([name, value]) => [name, toDevice(value)])));
    await session.release();
    const [a, b] = [results['fused']!.data as Float32Array, results['plain']!.data as Float32Array];
    if (!a.every((v, i) => Math.abs(v - b[i]!) < 1e-3)) return false;
  }
  return true;
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

/** Whether fused attention is right here, which is looked at once a process. */
export const fusedAttentionIsRight = (): Promise<boolean> => (known ??= probe());

/** The graph without what fails or is wrong on this machine's adapter. */
export async function avoidGaps<G extends Graph>(graph: G): Promise<G> {
  const fusedIsRight = await fusedAttentionIsRight();
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
