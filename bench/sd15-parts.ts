/** @file One part of `bench sd15` in a process of its own: `node sd15-parts.js PART threads [storage] [side of the latents]` prints its figures as JSON. */
import { grad } from '../src/graph/grad.js';
import { fromFloat32, host, sizeOf } from '../src/graph/dtype.js';
import type { HostTensor, Shape, StoredType } from '../src/graph/dtype.js';
import { mul, sub } from '../src/graph/ops/arithmetic.js';
import { matmul } from '../src/graph/ops/matmul.js';
import { mean } from '../src/graph/ops/reduce.js';
import { graphInputs } from '../src/graph/onnx/export.js';
import { input } from '../src/graph/tensor.js';
import type { Node, Tensor } from '../src/graph/tensor.js';
import { clipText } from '../src/models/clip-text.js';
import { componentSchema, componentShapes } from '../src/models/components.js';
import type { ComponentClass, ComponentConfigs } from '../src/models/components.js';
import { parseConfig } from '../src/models/config.js';
import { decodeImages } from '../src/models/latents.js';
import { emoji } from '../src/loading/bundled.js';
import { loadPipeline } from '../src/loading/load.js';
import { sd1 } from '../src/models/families/sd.js';
import type { ModelFamily } from '../src/models/families/family.js';
import { partScope } from '../src/models/pipeline.js';
import type { Pipeline } from '../src/models/pipeline.js';
import { savePipeline } from '../src/loading/save.js';
import { unet } from '../src/models/unet.js';
import { unetLora } from '../src/models/families/unet.js';
import { loraAdapter, loraParameters, planByTargets } from '../src/nn/lora.js';
import { frozenWeights } from '../src/nn/scope.js';
import { compile } from '../src/runtime/compile.js';
import { peakBytes, resetPeak } from '../src/machine/memory.js';

export type Part = 'text' | 'unet' | 'vae' | 'lora' | 'step' | 'write' | 'load';

export interface PartResult {
  /** Of one run: the best of some, by the clock and by the processor. */
  seconds: number;
  cpu: number;
  /** Bytes resident at most, weights included. */
  peak: number;
  /** Floating-point operations of its products, and the machine's most in a second of the processor. */
  flops: number;
  machine: number;
}

export interface LoadResult {
  seconds: number;
  /** Bytes of the weights in memory, and resident at most. */
  weights: number;
  peak: number;
}

const { configs } = sd1.singleFile!.published!;
const KINDS = { unet: 'UNet2DConditionModel', vae: 'AutoencoderKL', text_encoder: 'CLIPTextModel' } as const;
type PartName = keyof typeof KINDS;
const RUNS = 2;
const RANK = 4;

function config<N extends PartName>(name: N): ComponentConfigs[(typeof KINDS)[N]] {
  return parseConfig(componentSchema(KINDS[name] as ComponentClass), configs[name], name) as never;
}

/** Random numbers, made once. */
const TABLE = Float32Array.from({ length: 1 << 20 }, () => 2 * Math.random() - 1);

/** Numbers of the size that keeps activations finite; norms' weights are 1. */
function numbers(shape: Shape, name = ''): HostTensor {
  const data = new Float32Array(sizeOf(shape));
  if (shape.length === 1 && name.endsWith('weight')) return host(data.fill(1), shape);
  const scale = Math.sqrt(3 / Math.max(1, sizeOf(shape.slice(1))));
  const start = Math.floor(Math.random() * TABLE.length);
  for (let i = 0; i < data.length; i++) data[i] = scale * TABLE[(start + i) & (TABLE.length - 1)]!;
  return host(data, shape);
}

const randomWeights = (parts: readonly PartName[], storage: StoredType = 'float32'): Map<string, HostTensor> =>
  new Map(parts.flatMap((part) => [...componentShapes(KINDS[part], config(part) as never)]
    .map(([name, shape]): [string, HostTensor] => {
      const value = numbers(shape, name);
      return [`${part}.${name}`, shape.length < 2 ? value : fromFloat32(value.data as Float32Array, shape, storage)];
    })));

/** Floating-point operations of all products and convolutions that outputs depend on. */
function flopsOf(outputs: readonly Tensor[]): number {
  const seen = new Set<Node>();
  const open = outputs.map((t) => t.node);
  let total = 0;
  for (let node = open.pop(); node; node = open.pop()) {
    if (seen.has(node)) continue;
    seen.add(node);
    const [a, b] = node.inputs;
    const size = node.outputs[0]!.size;
    if (node.op === 'MatMul') total += 2 * size * a!.shape.at(-1)!;
    if (node.op === 'Gemm') total += 2 * size * a!.shape[node.attributes['transA'] ? 0 : 1]!;
    if (node.op === 'Conv') total += 2 * size * sizeOf(b!.shape.slice(1));
    if (node.op === 'ConvTranspose') total += 2 * a!.size * sizeOf(b!.shape.slice(1));
    open.push(...node.inputs.flatMap((t) => (t ? [t.node] : [])));
  }
  return total;
}

interface Timing {
  seconds: number;
  cpu: number;
}

async function timed(run: () => Promise<unknown>, runs: number): Promise<Timing> {
  const best: Timing = { seconds: Infinity, cpu: Infinity };
  for (let i = 0; i < runs; i++) {
    const [start, before] = [performance.now(), process.cpuUsage()];
    await run();
    const { user, system } = process.cpuUsage(before);
    best.seconds = Math.min(best.seconds, (performance.now() - start) / 1000);
    best.cpu = Math.min(best.cpu, (user + system) / 1e6);
  }
  return best;
}

/** The best matrix product that this machine does now, in operations a second of the processor. */
async function machinePeak(threads: number): Promise<number> {
  const n = 1024;
  const [a, b] = [input('a', [n, n]), input('b', [n, n])];
  const executable = await compile({ outputs: { out: matmul(a, b) } }, { threads });
  const feeds = { a: numbers([n, n]), b: numbers([n, n]) };
  const { cpu } = await timed(async () => {
    for (let i = 0; i < 20; i++) await executable.run(feeds);
  }, 4);
  await executable.release();
  return (20 * 2 * n ** 3) / cpu;
}

/** The graph of a part, and the parts of the model that it is made of. */
function graphOf(part: Part, side: number): { outputs: Record<string, Tensor>; parts: PartName[] } {
  const source = frozenWeights();
  const latentsOf = (batch: number): Tensor => input('latents', [batch, 4, side, side]);
  const noisy = (batch: number, adapter?: ReturnType<typeof loraAdapter>, latents = latentsOf(batch)): Tensor =>
    unet(partScope('unet', source, adapter ? [adapter] : []), config('unet'), {
      latents,
      timestep: input('timestep', [batch]),
      context: input('context', [batch, 77, 768]),
    }, { checkpointing: adapter !== undefined });
  const vae = { kind: 'AutoencoderKL', config: config('vae') } as const;
  const decoded = (latents: Tensor, checkpointing: boolean): Tensor =>
    decodeImages(partScope('vae', source), vae, latents, { checkpointing });
  switch (part) {
    case 'text': {
      const ids = input('ids', [2, 77], 'int64');
      const { last } = clipText(partScope('text_encoder', source), config('text_encoder'), ids);
      return { outputs: { last }, parts: ['text_encoder'] };
    }
    case 'unet': return { outputs: { out: noisy(2) }, parts: ['unet'] };
    case 'vae': return { outputs: { out: decoded(latentsOf(1), false) }, parts: ['vae'] };
    default: {
      const adapter = loraAdapter('lora', planByTargets({ rank: RANK, targets: unetLora.attention }));
      const latents = latentsOf(1);
      const out = noisy(1, adapter, latents);
      // As the last step of a sampler that a reward's gradient goes through.
      const clean = (): Tensor => sub(latents, out);
      const loss = part === 'lora' ? mean(mul(out, out)) : mean(decoded(clean(), true));
      const gradients = grad(loss, [...loraParameters(adapter).values()]);
      const outputs = Object.fromEntries([loss, ...gradients].map((t, i) => [`out${i}`, t]));
      return { outputs, parts: part === 'lora' ? ['unet'] : ['unet', 'vae'] };
    }
  }
}

async function measure(part: Part, threads: number, storage: StoredType, side: number): Promise<PartResult> {
  const before = await machinePeak(threads);
  const { outputs, parts } = graphOf(part, side);
  const weights = randomWeights(parts, storage);
  const open = [...graphInputs({ outputs })].filter(([name]) => !weights.has(name));
  const feeds = Object.fromEntries(open.map(([name, t]) => {
    if (t.dtype === 'int64') return [name, host(new BigInt64Array(t.size).fill(320n), t.shape, 'int64')];
    return [name, name === 'timestep' ? host(new Float32Array(t.size).fill(500), t.shape) : numbers(t.shape)];
  }));
  const executable = await compile({ outputs }, { weights, threads, hideShapes: part === 'lora' || part === 'step' });
  const timing = await timed(() => executable.run(feeds), RUNS);
  const peak = peakBytes();
  // What else the machine does takes caches away: the better of two moments.
  const machine = Math.max(before, await machinePeak(threads));
  return { ...timing, peak, flops: flopsOf(Object.values(outputs)), machine };
}

/** Writes a folder with all weights of SD 1.5, random, and a tokenizer of ours. */
async function write(folder: string, dtype: 'float32' | 'float16'): Promise<object> {
  const bundled = await loadPipeline('emoji');
  const [encoder] = bundled.textEncoders;
  const pipeline: Pipeline = {
    ...bundled,
    family: sd1 as ModelFamily,
    bundled: null,
    denoiser: { kind: KINDS.unet, config: config('unet') },
    vae: { kind: 'AutoencoderKL', config: config('vae') },
    textEncoders: [{ ...encoder!, config: config('text_encoder'),
      tokenizerFiles: { folder: `${emoji.folder}/tokenizer`, overrides: {} } }],
    weights: randomWeights(['unet', 'vae', 'text_encoder']),
  };
  await savePipeline(folder, pipeline, dtype);
  return {};
}

async function load(folder: string): Promise<LoadResult> {
  resetPeak();
  const start = performance.now();
  const pipeline = await loadPipeline(folder);
  const weights = [...pipeline.weights.values()].reduce((sum, { data }) => sum + data.byteLength, 0);
  return { seconds: (performance.now() - start) / 1000, weights, peak: peakBytes() };
}

const [part, first = '', second = 'float32', side = '64'] = process.argv.slice(2) as [Part, string, StoredType?, string?];
const run = { write: () => write(first, second as 'float32' | 'float16'), load: () => load(first) }[part as string];
console.log(JSON.stringify(await (run?.() ?? measure(part, Number(first), second, Number(side)))));
