/** Small ONNX files for tests: written with the protobuf schema, run by ONNX Runtime itself and by way of the import. */
import '../../../src/runtime/telemetry.js';
import * as ort from 'onnxruntime-node';
import { expect } from 'vitest';
import { bytesPerElement, host, sizeOf } from '../../../src/graph/dtype.js';
import type { DType, HostTensor, Shape, TypedArray } from '../../../src/graph/dtype.js';
import { importOnnx } from '../../../src/formats/onnx/import-file.js';
import type { ImportOptions } from '../../../src/graph/onnx/import.js';
import { ATTRIBUTE_TYPES, ELEMENT_TYPES, ModelProto } from '../../../src/graph/onnx/schema.js';
import { input } from '../../../src/graph/tensor.js';
import { compile } from '../../../src/runtime/compile.js';

export type AttributeSpec = number | string | number[] | { f: number } | { fs: number[] } | { ss: string[] } | { t: HostTensor } | { g: GraphSpec } | { ref: string; type: keyof typeof ATTRIBUTE_TYPES };

export interface NodeSpec {
  op: string;
  domain?: string;
  name?: string;
  in: string[];
  out: string[];
  attributes?: Record<string, AttributeSpec | undefined>;
}

export interface GraphSpec {
  nodes: NodeSpec[];
  inputs?: Record<string, { shape: (number | string)[]; dtype?: DType }>;
  initializers?: Record<string, HostTensor>;
  outputs: string[] | Record<string, DType>;
}

export interface ModelSpec extends GraphSpec {
  opset?: number;
  domains?: Record<string, number>;
  functions?: { name: string; domain: string; in: string[]; out: string[]; attributes?: string[]; nodes: NodeSpec[] }[];
}

export function tensorMessage(name: string, { data, shape, dtype }: HostTensor): object {
  const rawData = new Uint8Array(data.buffer, data.byteOffset, data.length * bytesPerElement(dtype));
  return { name, dims: [...shape], dataType: ELEMENT_TYPES[dtype], rawData };
}

function attributeMessage(name: string, value: AttributeSpec): object {
  if (typeof value === 'number') return { name, type: ATTRIBUTE_TYPES.int, i: value };
  if (typeof value === 'string') return { name, type: ATTRIBUTE_TYPES.string, s: Buffer.from(value) };
  if (Array.isArray(value)) return { name, type: ATTRIBUTE_TYPES.ints, ints: value };
  if ('f' in value) return { name, type: ATTRIBUTE_TYPES.float, f: value.f };
  if ('fs' in value) return { name, type: ATTRIBUTE_TYPES.floats, floats: value.fs };
  if ('ss' in value) return { name, type: ATTRIBUTE_TYPES.strings, strings: value.ss.map((v) => Buffer.from(v)) };
  if ('t' in value) return { name, type: ATTRIBUTE_TYPES.tensor, t: tensorMessage('', value.t) };
  if ('g' in value) return { name, type: ATTRIBUTE_TYPES.graph, g: graphMessage(value.g, 'branch') };
  return { name, type: ATTRIBUTE_TYPES[value.type], refAttrName: value.ref };
}

const nodeMessage = (n: NodeSpec): object => ({
  opType: n.op,
  domain: n.domain ?? '',
  name: n.name ?? '',
  input: n.in,
  output: n.out,
  attribute: Object.entries(n.attributes ?? {}).flatMap(([k, v]) => (v === undefined ? [] : [attributeMessage(k, v)])),
});

/** Messages as plain objects, for tests to spoil before they are encoded. */
interface GraphFields {
  name: string;
  node: object[];
  initializer: object[];
  input: object[];
  output: object[];
}

interface ModelFields {
  irVersion: number;
  opsetImport: object[];
  graph: GraphFields;
  functions: object[];
}

function graphMessage(g: GraphSpec, name = 'test'): GraphFields {
  const outputs = Array.isArray(g.outputs) ? g.outputs.map((o): [string, DType] => [o, 'float32']) : Object.entries(g.outputs);
  return {
    name,
    node: g.nodes.map(nodeMessage),
    initializer: Object.entries(g.initializers ?? {}).map(([k, v]) => tensorMessage(k, v)),
    input: Object.entries(g.inputs ?? {}).map(([k, { shape, dtype = 'float32' }]) => {
      const dim = shape.map((d) => (typeof d === 'string' ? { dimParam: d } : { dimValue: d }));
      return { name: k, type: { tensorType: { elemType: ELEMENT_TYPES[dtype], shape: { dim } } } };
    }),
    output: outputs.map(([k, dtype]) => ({ name: k, type: { tensorType: { elemType: ELEMENT_TYPES[dtype] } } })),
  };
}

/** The fields of a model message; `encode` makes the file of it. */
export function modelMessage(m: ModelSpec): ModelFields {
  const opset = m.opset ?? 17;
  const domains = Object.entries({ '': opset, ...m.domains });
  const opsetImport = domains.map(([domain, version]) => ({ domain, version }));
  return {
    irVersion: opset >= 21 ? 10 : 8,
    opsetImport,
    graph: graphMessage(m),
    functions: (m.functions ?? []).map((f) => ({
      name: f.name, domain: f.domain, input: f.in, output: f.out, attribute: f.attributes ?? [], node: f.nodes.map(nodeMessage), opsetImport,
    })),
  };
}

export const encode = (message: object): Uint8Array => ModelProto.encode(ModelProto.fromObject(message)).finish();
export const modelFile = (m: ModelSpec): Uint8Array => encode(modelMessage(m));

/** Numbers that look random, the same each time, from (−1, 1)·scale. */
export function noise(shape: Shape, seed = 1, scale = 1): HostTensor {
  const data = Float32Array.from({ length: sizeOf(shape) }, (_, i) => {
    const v = Math.sin((i + 1) * 12.9898 + seed * 78.233) * 43758.5453;
    return scale * (2 * (v - Math.floor(v)) - 1);
  });
  return host(data, shape);
}

export const int64 = (values: number[], shape: Shape = [values.length]): HostTensor => host(BigInt64Array.from(values, BigInt), shape, 'int64');
export const int32 = (values: number[], shape: Shape = [values.length]): HostTensor => host(Int32Array.from(values), shape, 'int32');
export const float32 = (values: number[], shape: Shape = [values.length]): HostTensor => host(Float32Array.from(values), shape);
export const bool = (values: number[], shape: Shape = [values.length]): HostTensor => host(Uint8Array.from(values), shape, 'bool');

export type Results = Record<string, { data: TypedArray; shape: Shape }>;

/** Runs the file as it is. */
export async function runDirectly(file: Uint8Array, feeds: Record<string, HostTensor>): Promise<Results> {
  const session = await ort.InferenceSession.create(file, { logSeverityLevel: 4, intraOpNumThreads: 1 });
  const values = Object.entries(feeds).map(([k, v]) => [k, new ort.Tensor(v.dtype as ort.Tensor.Type, v.data as never, [...v.shape])]);
  const results = await session.run(Object.fromEntries(values));
  const read = session.outputNames.map((k) => [k, { data: results[k]!.data as TypedArray, shape: results[k]!.dims }]);
  await session.release();
  return Object.fromEntries(read);
}

/** Imports the file and runs what was traced. */
export async function runImported(file: Uint8Array | { path: string }, feeds: Record<string, HostTensor>, options: ImportOptions = {}): Promise<Results> {
  const model = importOnnx(file, options);
  const inputs = Object.fromEntries(model.inputs.map((p) => [p.name, input(p.name, p.shape, p.dtype)]));
  const executable = await compile({ outputs: model.call(inputs) }, { weights: model.weights, threads: 1 });
  const results = await executable.run(feeds);
  await executable.release();
  return results;
}

/** Largest difference, relative to the largest number where that exceeds 1. */
export function difference(a: TypedArray, b: TypedArray): number {
  let [worst, scale] = [0, 1];
  a.forEach((v: number | bigint, i: number) => {
    const [x, y] = [Number(v), Number(b[i])];
    if (Object.is(x, y) || x === y) return;
    worst = Number.isNaN(x - y) ? Infinity : Math.max(worst, Math.abs(x - y));
    scale = Math.max(scale, Math.abs(y));
  });
  return worst / scale;
}

/** Expects the import to compute what ONNX Runtime computes. */
export async function expectSame(m: ModelSpec, feeds: Record<string, HostTensor>, options: ImportOptions = {}): Promise<void> {
  const file = modelFile(m);
  const [direct, imported] = [await runDirectly(file, feeds), await runImported(file, feeds, options)];
  expect(Object.keys(imported)).toEqual(Object.keys(direct));
  for (const name of Object.keys(direct)) {
    expect(imported[name]!.shape, `shape of ${name}`).toEqual(direct[name]!.shape);
    expect(difference(imported[name]!.data, direct[name]!.data), `error of ${name}`).toBeLessThan(1e-5);
  }
}
