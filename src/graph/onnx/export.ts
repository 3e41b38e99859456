/** @file Writes a traced computation as an ONNX model. */
import { bytesPerElement } from '../dtype.js';
import type { HostTensor } from '../dtype.js';
import { traceError } from '../errors.js';
import { resolve } from '../tensor.js';
import type { Attribute, Node, Tensor } from '../tensor.js';
import { ATTRIBUTE_TYPES, BITCAST, ELEMENT_TYPES, IR_VERSION, ModelProto, OPSET } from './schema.js';

/** A computation: named inputs are found by walking back from the named outputs. */
export interface Graph {
  readonly outputs: Readonly<Record<string, Tensor>>;
  /** Inputs that must exist in the model even if nothing reads them. */
  readonly inputs?: readonly Tensor[];
  /**
   * Values of inputs, by name, that become part of the model. Their numbers stay outside the file, under the input's name
   * as location: a model larger than 2 GB cannot be one file, and whoever loads it need not copy them.
   */
  readonly baked?: ReadonlyMap<string, HostTensor>;
  /** Leave the shapes of float32 inputs, or of all, out of the file. */
  readonly hideInputShapes?: boolean | 'all';
}

/** Nodes that the tensors depend on, each after what it reads; gradient-only inputs of bridges do not count. */
export function schedule(tensors: readonly Tensor[]): Node[] {
  const order: Node[] = [];
  const seen = new Set<Node>();
  const stack: { node: Node; next: number }[] = [];
  const visit = (tensor: Tensor): void => {
    const { node } = resolve(tensor);
    if (seen.has(node)) return;
    seen.add(node);
    stack.push({ node, next: 0 });
  };
  for (const tensor of tensors) {
    visit(tensor);
    while (stack.length > 0) {
      const top = stack[stack.length - 1]!;
      const from = top.node.inputs[top.next++];
      if (from) visit(from);
      else if (top.next > top.node.inputs.length) order.push(stack.pop()!.node);
    }
  }
  return order;
}

const scheduleOf = ({ outputs, inputs = [] }: Graph): Node[] => schedule([...Object.values(outputs), ...inputs]);

/** Inputs that the outputs really depend on, by name. @throws TraceError if two inputs share a name. */
export function graphInputs(graph: Graph): Map<string, Tensor> {
  const found = new Map<string, Tensor>();
  for (const node of scheduleOf(graph)) {
    if (node.op !== '@input') continue;
    const name = node.name!;
    if (found.has(name) && found.get(name) !== node.outputs[0]) traceError('input', `two inputs are named ${name}`);
    found.set(name, node.outputs[0]!);
  }
  return found;
}

const valueName = (t: Tensor): string => {
  const { node, index } = resolve(t);
  return node.op === '@input' ? node.name! : `${node.op.replace('@', '')}_${node.id}${index ? `_${index}` : ''}`;
};

function valueInfo(name: string, { shape, dtype }: Tensor, hidden = false): object {
  const dim = shape.map((d) => ({ dimValue: d }));
  return { name, type: { tensorType: { elemType: ELEMENT_TYPES[dtype], ...(!hidden && { shape: { dim } }) } } };
}

function tensorProto(name: string, value: HostTensor): object {
  const { data } = value;
  const rawData = new Uint8Array(data.buffer, data.byteOffset, data.length * bytesPerElement(value.dtype));
  return { name, dims: [...value.shape], dataType: ELEMENT_TYPES[value.dtype], rawData };
}

function externalProto(name: string, { shape, dtype, data }: HostTensor): object {
  const place = { location: name, offset: 0, length: data.length * bytesPerElement(dtype) };
  const externalData = Object.entries(place).map(([key, value]) => ({ key, value: String(value) }));
  return { name, dims: [...shape], dataType: ELEMENT_TYPES[dtype], dataLocation: 1 /* EXTERNAL */, externalData };
}

function attributeProto(name: string, value: Attribute): object {
  if (typeof value === 'number') return { name, i: value, type: ATTRIBUTE_TYPES.int };
  if (typeof value === 'string') return { name, s: new TextEncoder().encode(value), type: ATTRIBUTE_TYPES.string };
  if (Array.isArray(value)) return { name, ints: value, type: ATTRIBUTE_TYPES.ints };
  if ('float' in value) return { name, f: value.float, type: ATTRIBUTE_TYPES.float };
  if ('floats' in value) return { name, floats: value.floats, type: ATTRIBUTE_TYPES.floats };
  return { name, i: ELEMENT_TYPES[value.dtype], type: ATTRIBUTE_TYPES.int };
}

/** A text of one character a byte. */
const oneByte = new TextDecoder('latin1');

/** Equal small constants are written once. */
function constantKey(value: HostTensor): string | null {
  if (value.data.length > 64) return null;
  return `${value.dtype}:${value.shape.join()}:${oneByte.decode(new Uint8Array(value.data.buffer, value.data.byteOffset, value.data.byteLength))}`;
}

/** What a node's values are called in the file; tools that report on operators use the same names. */
export { valueName };

/**
 * The graph as the bytes of an `.onnx` file. Fused operators of ONNX Runtime's own domain (`com.microsoft`) occur.
 *
 * @throws TraceError if an input name is used twice or an output is itself an input of another name.
 */
export function exportOnnx(graph: Graph): Uint8Array {
  const outputs = Object.entries(graph.outputs);
  const nodes = scheduleOf(graph);
  const inputs = graphInputs(graph);
  for (const [name] of outputs) if (inputs.has(name)) traceError('output', `"${name}" is also an input's name`);
  const baked = graph.baked ?? new Map<string, HostTensor>();
  const initializer: object[] = [...baked].filter(([name]) => inputs.has(name)).map(([name, value]) => externalProto(name, value));
  const shared = new Map<string, string>();
  const renamed = new Map<Tensor, string>();
  const nameOf = (t: Tensor): string => renamed.get(resolve(t)) ?? valueName(t);
  const node: object[] = [];
  const domains = new Set<string>();
  for (const n of nodes) {
    if (n.op === '@input') continue;
    if (n.op === '@constant') {
      const key = constantKey(n.value!);
      const name = valueName(n.outputs[0]!);
      const known = key === null ? undefined : shared.get(key);
      if (known === undefined) {
        initializer.push(tensorProto(name, n.value!));
        if (key !== null) shared.set(key, name);
      } else renamed.set(n.outputs[0]!, known);
      continue;
    }
    domains.add(n.domain);
    node.push({
      name: valueName(n.outputs[0]!),
      opType: n.op,
      domain: n.domain,
      input: n.inputs.map((t) => (t ? nameOf(t) : '')),
      output: n.outputs.map(valueName),
      attribute: Object.entries(n.attributes).map(([key, value]) => attributeProto(key, value)),
    });
  }
  for (const [name, t] of outputs) {
    node.push({ name: `output_${name}`, opType: 'Identity', input: [nameOf(t)], output: [name] });
  }
  const newer = nodes.some((n) => n.op === 'BitCast');
  const opsetImport: object[] = [{ domain: '', version: newer ? BITCAST.opset : OPSET }];
  for (const domain of domains) if (domain) opsetImport.push({ domain, version: 1 });
  const model = ModelProto.fromObject({
    irVersion: newer ? BITCAST.irVersion : IR_VERSION,
    producerName: 'attune',
    opsetImport,
    graph: {
      name: 'attune',
      node,
      initializer,
      input: [...inputs].filter(([name]) => !baked.has(name)).map(([name, t]) => valueInfo(name, t, graph.hideInputShapes === 'all' || (graph.hideInputShapes && t.dtype === 'float32'))),
      output: outputs.map(([name, t]) => valueInfo(name, t)),
    },
  });
  return ModelProto.encode(model).finish();
}
