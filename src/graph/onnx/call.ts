/** @file What the translation of one ONNX operator gets to see: its inputs, its attributes, its operator set. */
import type { DType, HostTensor } from '../dtype.js';
import type { Tensor } from '../tensor.js';
import { describeNode, toNumber } from './decode.js';
import type { AttributeMessage, NodeMessage, TensorMessage } from './decode.js';
import { LIMITS, OnnxError } from './error.js';
import { shown } from '../errors.js';
import { ATTRIBUTE_TYPES } from './schema.js';
import { computeDtype, elementTypeName } from './tensor-data.js';

/** Turns an ONNX operator into ours; an output that is undefined is not supported. */
export type Operator = (call: Call) => Tensor | readonly (Tensor | undefined)[];

export interface CallContext {
  readonly file: string;
  /** Version of the operator set that the operator belongs to. */
  readonly opset: number;
  /** The attribute itself, or what it refers to inside a function. */
  resolve(attribute: AttributeMessage): AttributeMessage | undefined;
  /** The numbers of a tensor that does not depend on the model's inputs. */
  known(tensor: Tensor): HostTensor | undefined;
  /** The numbers of a tensor attribute. */
  tensor(message: TensorMessage): HostTensor;
  /** False if constants of so many elements more would be too many. */
  afford(elements: number): boolean;
}

const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
const text = (bytes: Uint8Array): string => utf8.decode(bytes);

export class Call {
  private readonly unusedInputs: Set<number>;
  private readonly unusedAttributes: Map<string, AttributeMessage>;
  private readonly attributes: ReadonlyMap<string, AttributeMessage>;

  constructor(
    readonly node: NodeMessage,
    readonly inputs: readonly (Tensor | null)[],
    private readonly context: CallContext,
  ) {
    const found = new Map<string, AttributeMessage>();
    for (const attribute of node.attribute) {
      if (found.has(attribute.name)) this.fail(`attribute ${shown(attribute.name)} is given twice`);
      const value = context.resolve(attribute);
      if (value) found.set(attribute.name, value);
    }
    this.attributes = found;
    this.unusedAttributes = new Map(found);
    this.unusedInputs = new Set(inputs.flatMap((t, i) => (t ? [i] : [])));
  }

  get opset(): number {
    return this.context.opset;
  }

  fail(problem: string): never {
    throw new OnnxError(this.context.file, problem, describeNode(this.node));
  }

  /** Fails if the operator was given something that its translation did not look at. */
  checkAllUsed(): void {
    const rest = [...this.unusedAttributes.keys()].map((name) => `attribute ${shown(name)}`);
    rest.push(...[...this.unusedInputs].map((i) => `input ${i}`));
    if (rest.length > 0) this.fail(`${rest[0]} is not supported (operator set ${this.opset})`);
  }

  /** Input `i`, which must be there. */
  x(i: number): Tensor {
    return this.optional(i) ?? this.fail(`input ${i} is missing`);
  }

  optional(i: number): Tensor | undefined {
    this.unusedInputs.delete(i);
    return this.inputs[i] ?? undefined;
  }

  /** All inputs, each of which must be there. */
  all(): [Tensor, ...Tensor[]] {
    if (this.inputs.length === 0) this.fail('has no inputs');
    return this.inputs.map((_, i) => this.x(i)) as [Tensor, ...Tensor[]];
  }

  /** The numbers of a tensor if they do not depend on the model's inputs. */
  known(tensor: Tensor): HostTensor | undefined {
    return this.context.known(tensor);
  }

  /** The numbers of an input that must not depend on the model's inputs, because they decide about shapes. */
  host(i: number): HostTensor {
    const why = 'because it decides about shapes';
    return this.known(this.x(i)) ?? this.fail(`input ${i} must not depend on the model's inputs, ${why}`);
  }

  /** Input `i` as plain integers, or undefined if it is left out. */
  optionalInts(i: number): number[] | undefined {
    if (!this.optional(i)) return undefined;
    const { data, dtype } = this.host(i);
    if (dtype !== 'int64' && dtype !== 'int32') this.fail(`input ${i} must hold integers, not ${dtype}`);
    return this.list(Array.from(data as Int32Array, Number));
  }

  ints(i: number): number[] {
    return this.optionalInts(i) ?? this.fail(`input ${i} is missing`);
  }

  /** Input `i` as one plain number. */
  scalar(i: number): number {
    const { data } = this.host(i);
    return data.length === 1 ? Number(data[0]) : this.fail(`input ${i} must be one number, not ${data.length}`);
  }

  /** To be asked before making a constant whose size the file decides. */
  budget(elements: number): void {
    if (!(elements <= LIMITS.constantElements && this.context.afford(elements))) {
      this.fail(`needs a constant of ${elements} elements, more than a file may bring`);
    }
  }

  /** Attributes that change nothing here. */
  ignore(...names: string[]): void {
    for (const name of names) this.unusedAttributes.delete(name);
  }

  /** The subgraph attribute `name`, a branch or a loop's body. */
  graph(name: string): NonNullable<AttributeMessage['g']> {
    return this.attribute(name, 'graph')?.g ?? this.fail(`has no graph ${name}`);
  }

  private attribute(name: string, type: keyof typeof ATTRIBUTE_TYPES): AttributeMessage | undefined {
    const found = this.attributes.get(name);
    this.unusedAttributes.delete(name);
    if (found && found.type !== ATTRIBUTE_TYPES[type]) {
      this.fail(`attribute ${name} is of type ${found.type}, not ${type}`);
    }
    return found;
  }

  int(name: string, otherwise: number): number;
  int(name: string): number | undefined;
  int(name: string, otherwise?: number): number | undefined {
    const found = this.attribute(name, 'int');
    return found ? toNumber(found.i) : otherwise;
  }

  float(name: string, otherwise: number): number;
  float(name: string): number | undefined;
  float(name: string, otherwise?: number): number | undefined {
    return this.attribute(name, 'float')?.f ?? otherwise;
  }

  string(name: string, otherwise: string): string {
    const found = this.attribute(name, 'string');
    return found ? text(found.s) : otherwise;
  }

  strings(name: string): string[] | undefined {
    return this.attribute(name, 'strings')?.strings.map(text);
  }

  intList(name: string): number[] | undefined {
    const found = this.attribute(name, 'ints');
    return found && this.list(found.ints.map(toNumber));
  }

  floatList(name: string): number[] | undefined {
    return this.attribute(name, 'floats')?.floats;
  }

  tensor(name: string): HostTensor | undefined {
    const found = this.attribute(name, 'tensor');
    if (!found) return undefined;
    return this.context.tensor(found.t ?? this.fail(`attribute ${name} has no value`));
  }

  /** The element type that attribute `name` asks for, as we compute with it; undefined if it is left out. */
  dtype(name: string): DType | undefined {
    const code = this.int(name);
    if (code === undefined) return undefined;
    return computeDtype(code) ?? this.fail(`element type ${elementTypeName(code)} is not supported`);
  }

  private list(values: number[]): number[] {
    const most = LIMITS.listLength;
    if (values.length > most) this.fail(`a list of ${values.length} numbers; ${most} are supported`);
    return values;
  }
}
