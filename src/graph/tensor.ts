/** @file The symbolic tensor: a static shape, a dtype and the operator that makes it. Tracing makes a graph of them. */
import { arrayType, fromFloat32, host, isFloat, sizeOf } from './dtype.js';
import type { DType, HostTensor, Shape } from './dtype.js';
import { describeShape, traceError } from './errors.js';

/** ONNX attribute values. A plain number is an integer; `float(x)` marks a float. */
export type Attribute = number | number[] | string | { float: number } | { floats: number[] } | { dtype: DType };
export type Attributes = Readonly<Record<string, Attribute>>;

export const float = (value: number): Attribute => ({ float: value });

/**
 * Gradient of an operator by one of its inputs: from the gradients of the outputs (`undefined` where none flows; the
 * first argument is that of output 0) to the gradient of that input, in the input's shape.
 */
export type Vjp = (g: Tensor, all: readonly (Tensor | undefined)[]) => Tensor;

/** One traced operator. `op` is an ONNX operator, or one of ours: `@input`, `@constant`, `@customVjp`. */
export interface Node {
  readonly id: number;
  readonly op: string;
  readonly domain: string;
  readonly inputs: readonly (Tensor | null)[];
  readonly attributes: Attributes;
  readonly outputs: readonly Tensor[];
  /** One entry per input; null where the operator is not differentiable in it. */
  readonly vjps: readonly (Vjp | null)[];
  /** `@input`: its name. */
  readonly name?: string;
  /** `@input`: the same value at every run (frozen weights), so that what depends on nothing else is computed once. */
  readonly frozen?: boolean;
  /** `@constant`: its numbers. */
  readonly value?: HostTensor;
}

export class Tensor {
  constructor(
    readonly node: Node,
    readonly index: number,
    readonly shape: Shape,
    readonly dtype: DType,
  ) {}

  get rank(): number {
    return this.shape.length;
  }

  get size(): number {
    return sizeOf(this.shape);
  }

  toString(): string {
    return `${this.dtype}${describeShape(this.shape)}`;
  }
}

export interface Spec {
  readonly shape: Shape;
  readonly dtype: DType;
}

/** Numbers stand for scalar constants of the other operand's dtype. */
export type Operand = Tensor | number;

// Only gives nodes an age, which orders them and tells what a checkpointed function made; no result depends on it.
let nextId = 0;

/** The id that the next traced node will get. */
export function nodeCount(): number {
  return nextId;
}

function makeNode(fields: Omit<Node, 'id' | 'outputs'>, specs: readonly Spec[]): readonly Tensor[] {
  const outputs: Tensor[] = [];
  const node: Node = { ...fields, id: nextId++, outputs };
  specs.forEach((spec, i) => outputs.push(new Tensor(node, i, spec.shape, spec.dtype)));
  return outputs;
}

export interface OperatorCall {
  op: string;
  domain?: string;
  inputs: readonly (Tensor | null)[];
  attributes?: Attributes;
  vjps?: readonly (Vjp | null)[];
}

/** Traces an operator with several outputs. */
export function applyMany(call: OperatorCall, specs: readonly Spec[]): readonly Tensor[] {
  const { op, domain = '', inputs, attributes = {}, vjps = [] } = call;
  for (const { shape } of specs) {
    const bad = shape.some((d) => !Number.isSafeInteger(d) || d < 0);
    if (bad) traceError(op, `impossible shape ${describeShape(shape)}`);
  }
  return makeNode({ op, domain, inputs, attributes, vjps }, specs);
}

/** Traces an operator with one output. */
export function apply(call: OperatorCall, shape: Shape, dtype: DType = 'float32'): Tensor {
  return applyMany(call, [{ shape, dtype }])[0]!;
}

/** A named input whose numbers come with each run. */
export function input(name: string, shape: Shape, dtype: DType = 'float32'): Tensor {
  return makeNode({ op: '@input', domain: '', inputs: [], attributes: {}, vjps: [], name }, [{ shape, dtype }])[0]!;
}

/** A named input whose numbers never change between runs: a frozen weight. */
export function weight(name: string, shape: Shape, dtype: DType = 'float32'): Tensor {
  const fields = { op: '@input', domain: '', inputs: [], attributes: {}, vjps: [], name, frozen: true };
  return makeNode(fields, [{ shape, dtype }])[0]!;
}

/** A tensor of fixed numbers, part of the graph. */
export function constant(value: HostTensor): Tensor {
  const fields = { op: '@constant', domain: '', inputs: [], attributes: {}, vjps: [], value };
  return makeNode(fields, [{ shape: value.shape, dtype: value.dtype }])[0]!;
}

/** A constant from plain numbers. */
export function literal(values: number | readonly number[], shape?: Shape, dtype: DType = 'float32'): Tensor {
  const list = typeof values === 'number' ? [values] : values;
  const size = shape ?? (typeof values === 'number' ? [] : [list.length]);
  if (dtype === 'int64') return constant(host(BigInt64Array.from(list, (v) => BigInt(v)), size, dtype));
  if (dtype === 'float16' || dtype === 'bfloat16') return constant(fromFloat32(Float32Array.from(list), size, dtype));
  return constant(host((arrayType(dtype) as typeof Float32Array).from(list), size, dtype));
}

/** Turns a number into a scalar of `like`'s dtype; leaves tensors alone. */
export function lift(value: Operand, like: Tensor): Tensor {
  return typeof value === 'number' ? literal(value, [], like.dtype) : value;
}

/** A tensor filled with one number. */
export function full(shape: Shape, value: number, dtype: DType = 'float32'): Tensor {
  return expandConstant(literal(value, [], dtype), shape);
}

/** Like `Expand`, for making constants; kept here so that gradients can make zeros without importing operators. */
function expandConstant(scalar: Tensor, shape: Shape): Tensor {
  if (shape.length === 0) return scalar;
  return apply({ op: 'Expand', inputs: [scalar, literal([...shape], [shape.length], 'int64')] }, shape, scalar.dtype);
}

/**
 * Joins values to gradients of our choosing: output i *is* value i (nothing runs), and the gradients flow to `sources`
 * by `vjps` instead of through the values. `stopGradient`, straight-through estimators and `checkpoint` are made of it.
 */
export function customVjp(
  values: readonly Tensor[],
  sources: readonly Tensor[] = [],
  vjps: readonly Vjp[] = [],
): readonly Tensor[] {
  const inputs = [...values, ...sources];
  const all = [...values.map(() => null), ...vjps];
  const specs = values.map(({ shape, dtype }) => ({ shape, dtype }));
  return makeNode({ op: '@customVjp', domain: '', inputs, attributes: {}, vjps: all }, specs);
}

/** Follows bridges to the tensor that is really computed. */
export function resolve(tensor: Tensor): Tensor {
  let t = tensor;
  while (t.node.op === '@customVjp') t = t.node.inputs[t.index]!;
  return t;
}

/** True for dtypes that carry gradients. */
export const differentiable = (t: Tensor): boolean => isFloat(t.dtype);
