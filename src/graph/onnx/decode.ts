/** @file Bytes → the messages of an ONNX model, typed, with a limit on how many there are. */
import protobuf from 'protobufjs/light.js';
import { LIMITS, OnnxError, quoted } from './error.js';
import { shown } from '../errors.js';
import { ModelProto } from './schema.js';

/** A protobuf int64: a plain number where it is exact. */
export type Int64 = number | { toNumber(): number };

export interface TensorMessage {
  name: string;
  dims: Int64[];
  dataType: number;
  segment?: object;
  floatData: Uint8Array[];
  int32Data: Uint8Array[];
  int64Data: Uint8Array[];
  doubleData: Uint8Array[];
  rawData: Uint8Array;
  externalData: { key: string; value: string }[];
  dataLocation: number;
}

export interface AttributeMessage {
  name: string;
  type: number;
  refAttrName: string;
  f: number;
  i: Int64;
  s: Uint8Array;
  t?: TensorMessage;
  g?: GraphMessage;
  floats: number[];
  ints: Int64[];
  strings: Uint8Array[];
}

export interface NodeMessage {
  name: string;
  opType: string;
  domain: string;
  overload: string;
  input: string[];
  output: string[];
  attribute: AttributeMessage[];
}

export interface ValueInfoMessage {
  name: string;
  type?: { tensorType?: { elemType: number; shape?: { dim: { dimValue: Int64; dimParam: string }[] } } };
}

export interface GraphMessage {
  node: NodeMessage[];
  initializer: TensorMessage[];
  sparseInitializer: Uint8Array[];
  input: ValueInfoMessage[];
  output: ValueInfoMessage[];
}

export interface OpsetMessage {
  domain: string;
  version: Int64;
}

export interface FunctionMessage {
  name: string;
  domain: string;
  overload: string;
  input: string[];
  output: string[];
  attribute: string[];
  attributeProto: AttributeMessage[];
  node: NodeMessage[];
  opsetImport: OpsetMessage[];
}

export interface ModelMessage {
  irVersion: Int64;
  graph: GraphMessage;
  opsetImport: OpsetMessage[];
  functions: FunctionMessage[];
}

export const toNumber = (v: Int64): number => (typeof v === 'number' ? v : v.toNumber());

/** Two-byte messages would otherwise become a hundred times their size in objects. */
class LimitedReader extends protobuf.Reader {
  private left: number = LIMITS.fields;

  private spend(count: number): void {
    this.left -= count;
    if (this.left < 0) throw new RangeError(`more than ${LIMITS.fields} fields`);
  }

  /** Charges for a packed list before it is read: a number takes at least a byte. */
  private spendPacked(): void {
    const { pos } = this;
    this.spend(super.size());
    this.pos = pos;
  }

  override tag(): number {
    this.spend(1);
    return super.tag();
  }

  /** Of a string, a list or a message. */
  override size(): number {
    this.spend(1);
    return super.size();
  }

  override int64s(into?: number[]): number[] {
    this.spendPacked();
    return super.int64s(into) as number[];
  }

  override floats(into?: number[]): number[] {
    this.spendPacked();
    return super.floats(into);
  }
}

/**
 * Reads the messages of a model. Nothing in them has been checked but that they are well-formed protobuf; tensor data
 * are views of `bytes`.
 *
 * @throws OnnxError if the bytes are not an ONNX model.
 */
export function decodeModel(bytes: Uint8Array, file: string): ModelMessage {
  let model: ModelMessage;
  try {
    // A plain Uint8Array: protobufjs would read a Buffer with a reader of its own.
    const reader = new LimitedReader(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    reader.discardUnknown = true;
    model = ModelProto.decode(reader) as unknown as ModelMessage;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const guess = 'it is damaged, cut short or of another format';
    throw new OnnxError(file, `is not a readable ONNX model (${shown(reason)}): ${guess}`, undefined, { cause });
  }
  if (!model.graph || model.opsetImport.length === 0) {
    throw new OnnxError(file, 'is not an ONNX model: it has no graph or does not say which operator set it uses');
  }
  return model;
}

/** How messages name an operator. */
export function describeNode(node: NodeMessage): string {
  const kind = node.domain && node.domain !== 'ai.onnx' ? `${node.domain}.${node.opType}` : node.opType;
  const name = node.name || node.output.find((o) => o !== '');
  return name ? `${shown(kind)} ${quoted(name)}` : shown(kind);
}

/** Every operator of the file, those in branches and functions included. */
export function allNodes(model: ModelMessage): NodeMessage[] {
  const found: NodeMessage[] = [];
  const lists = [model.graph.node, ...model.functions.map((f) => f.node)];
  for (let list = lists.pop(); list; list = lists.pop()) {
    for (const node of list) {
      found.push(node);
      for (const { g } of node.attribute) if (g) lists.push(g.node);
    }
  }
  return found;
}

/** Every tensor of the file: initializers and constants. */
export function allTensors(model: ModelMessage): TensorMessage[] {
  const nodes = allNodes(model);
  const attributes = [...nodes.flatMap((n) => n.attribute), ...model.functions.flatMap((f) => f.attributeProto)];
  const graphs = [model.graph, ...attributes.flatMap((a) => (a.g ? [a.g] : []))];
  return [...graphs.flatMap((g) => g.initializer), ...attributes.flatMap((a) => (a.t ? [a.t] : []))];
}
