/** @file What ONNX Runtime's WebGPU provider takes on and then cannot do, or does wrong on some adapters. */
import { bytesPerElement, host, sizeOf } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { exportOnnx, schedule } from '../graph/onnx/export.js';
import type { Graph } from '../graph/onnx/export.js';
import { add, cast, sub } from '../graph/ops/arithmetic.js';
import { unfusedAttention } from '../graph/ops/fused-attention.js';
import { mean } from '../graph/ops/reduce.js';
import { apply, applyMany, float, input } from '../graph/tensor.js';
import type { Node, Tensor } from '../graph/tensor.js';
import { createSession, DeviceError, toDevice } from './device.js';
import { labelOf } from './label.js';
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

type Computed = 'float32' | 'float16';

/** Fused attention and what stands for it where it is wrong (that in float32 always), and their feeds. */
function attentionCase({ queries, keys, width }: AttentionCase, dtype: Computed): { fused: Tensor; plain: Tensor; feeds: Record<string, HostTensor> } {
  const heads = 2;
  const shapes = { q: [1, queries, heads * width], k: [1, keys, heads * width], v: [1, keys, heads * width] };
  const inputs = Object.entries(shapes).map(([name, shape]) => input(name, shape));
  const attributes = { num_heads: heads, scale: float(width ** -0.5) };
  const given = inputs.map((t) => cast(t, dtype));
  const fused = apply({ op: 'MultiHeadAttention', domain: 'com.microsoft', inputs: given, attributes }, shapes.q, dtype);
  const plain = unfusedAttention(inputs[0]!, inputs[1]!, inputs[2]!, heads, width ** -0.5, BLOCK_BYTES);
  const feeds = Object.fromEntries(Object.entries(shapes).map(([name, shape], at): [string, HostTensor] =>
    [name, host(Float32Array.from({ length: sizeOf(shape) }, (_, i) => (((i + at) * 37) % 101) / 50 - 1), shape)]));
  return { fused: cast(fused, 'float32'), plain, feeds };
}

/** Means of values up to 1: a step of float16 there is 5e-4. */
const TOLERANCES: Readonly<Record<Computed, number>> = { float32: 1e-3, float16: 5e-3 };

/**
 * Whether fused attention is right on this adapter. With 32 queries and more, 1.30 leaves out keys on SwiftShader, and
 * did on some NVIDIA cards (microsoft/onnxruntime pull request 28520).
 */
async function probe(dtype: Computed): Promise<boolean> {
  for (const one of ATTENTION_CASES) {
    const { fused, plain, feeds } = attentionCase(one, dtype);
    const session = await createSession(exportOnnx({ outputs: { fused, plain } }), 'webgpu', { logSeverityLevel: 4 });
    const results = await session.run(Object.fromEntries(Object.entries(feeds).map(([name, value]) => [name, toDevice(value)])));
    await session.release();
    const [a, b] = [results['fused']!.data as Float32Array, results['plain']!.data as Float32Array];
    if (!a.every((v, i) => Math.abs(v - b[i]!) < TOLERANCES[dtype])) return false;
  }
  return true;
}

/**
 * The normalisation of rows whose mean has been taken off. 1.30 takes the variance as E[x²] − E[x]², which has lost all
 * digits where the mean is a thousand deviations (docs/upstream.md); rows around zero it gets right.
 */
function centred(node: Node, [x, ...rest]: readonly (Tensor | null)[]): readonly Tensor[] {
  const { axis = -1 } = node.attributes as { axis?: number };
  const wide = cast(x!, 'float32'); // a sum of thousands is beyond float16, and statistics are float32
  const mu = mean(wide, { axes: x!.shape.map((_, i) => i).slice(axis), keepDims: true });
  const [y, remainder, ...inverse] = applyMany({ ...node, inputs: [cast(sub(wide, mu), x!.dtype), ...rest], vjps: [] }, node.outputs);
  return remainder ? [y!, add(remainder, mu), ...inverse] : [y!];
}

const known = new Map<Computed, Promise<boolean>>();

/** Whether fused attention is right here, which is looked at once a process. */
export function fusedAttentionIsRight(dtype: Computed = 'float32'): Promise<boolean> {
  const found = known.get(dtype) ?? probe(dtype);
  known.set(dtype, found);
  return found;
}

let half: Promise<boolean> | undefined;

/** Whether the adapter computes in float16 (shader-f16), which is tried once a process: sessions are made without it, and fail at their first run. */
export function computesFloat16(): Promise<boolean> {
  return (half ??= (async () => {
    const x = input('x', [4]);
    const session = await createSession(exportOnnx({ outputs: { y: cast(add(cast(x, 'float16'), cast(x, 'float16')), 'float32') } }), 'webgpu', { logSeverityLevel: 4 });
    const results = await session.run({ x: toDevice(host(Float32Array.of(1, 2, 3, 4), [4])) }).catch(() => null);
    await session.release();
    return results !== null && [...(results['y']!.data as Float32Array)].join() === '2,4,6,8';
  })());
}

/** The most that any GPU has in one buffer, of WebGPU's tiers; ONNX Runtime splits what is more than an adapter binds at once. */
const MOST_BUFFER = 4 * 2 ** 30 - 4;

/** @throws DeviceError naming the first tensor that no buffer holds */
export function refuseHuge(graph: Graph): void {
  for (const { op, outputs } of schedule(Object.values(graph.outputs))) {
    for (const t of outputs) {
      const bytes = sizeOf(t.shape) * bytesPerElement(t.dtype);
      if (op === '@constant' || bytes <= MOST_BUFFER) continue;
      throw new DeviceError(`${t.node.op === '@input' ? t.node.name : labelOf(t.node)} is ${t}, ${(bytes / 2 ** 30).toFixed(1)} GiB, and a buffer of WebGPU holds 4 GiB. `
        + 'Take a smaller microbatch or size, or --device cpu.');
    }
  }
}

/**
 * The graph without what fails or is wrong on this machine's adapter.
 *
 * @throws DeviceError if it is one in half precision, which the adapter has not
 */
export async function avoidGaps<G extends Graph>(graph: G): Promise<G> {
  const nodes = schedule(Object.values(graph.outputs));
  if (nodes.some((node) => node.outputs.some(({ dtype }) => dtype === 'float16' || dtype === 'bfloat16')) && !(await computesFloat16())) {
    throw new DeviceError('Cannot use half precision on webgpu: this adapter, or its driver, has no shader-f16. Use --precision float32.');
  }
  const wrong = new Set<string>();
  for (const dtype of new Set(nodes.filter(isAttention).map((node) => node.outputs[0]!.dtype as Computed))) {
    if (!(await fusedAttentionIsRight(dtype))) wrong.add(dtype);
  }
  return rewrite(graph, (node, inputs) => {
    if (isAttention(node) && wrong.has(node.outputs[0]!.dtype)) return [unfused(node, inputs)];
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
