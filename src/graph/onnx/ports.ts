/** @file Shapes and dtypes of a model's inputs, with open dimensions filled in. */
import { sizeOf } from '../dtype.js';
import type { DType, Shape } from '../dtype.js';
import { describeShape } from '../errors.js';
import { toNumber } from './decode.js';
import type { ModelMessage, ValueInfoMessage } from './decode.js';
import { LIMITS, OnnxError, quoted } from './error.js';
import { shown } from '../errors.js';
import { computeDtype, elementTypeName } from './tensor-data.js';

export interface ImportOptions {
  /** Shapes of inputs whose dimensions the file leaves open. */
  shapes?: Readonly<Record<string, Shape>>;
  /** Values of named open dimensions: `{ batch_size: 4 }`. */
  dims?: Readonly<Record<string, number>>;
  /** Inputs of integers that are taken as float32 (their numbers still whole), so that gradients pass through them. */
  asFloat?: readonly string[];
  /** What the names of the weights begin with, so that several models fit in one graph; `<file name>/` by default. */
  prefix?: string;
}

/** An input or output of an imported model. */
export interface Port {
  readonly name: string;
  readonly shape: Shape;
  readonly dtype: DType;
}

/** A length, the name of an open dimension, or null for a nameless one. */
export type Dimension = number | string | null;

export function declaredShape(info: ValueInfoMessage): Dimension[] | null {
  const dims = info.type?.tensorType?.shape?.dim;
  return dims ? dims.map((d) => (d.dimParam === '' ? toNumber(d.dimValue) || null : d.dimParam)) : null;
}

const describe = (shape: readonly Dimension[]): string =>
  `[${shape.map((d) => (typeof d === 'string' ? shown(d) : (d ?? '?'))).join(', ')}]`;
const listed = (names: Iterable<string>): string => [...names].map(shown).join(', ') || 'none';

/** The inputs that a caller must give: not those that the file has values for. */
export function openInputs({ graph }: ModelMessage): ValueInfoMessage[] {
  const given = new Set(graph.initializer.map((t) => t.name));
  return graph.input.filter((i) => !given.has(i.name));
}

/**
 * The inputs that a caller must give, their shapes filled in from `options`.
 *
 * @throws OnnxError if a dimension stays open, or the options do not fit the file
 */
export function resolvePorts(model: ModelMessage, file: string, options: ImportOptions): Port[] {
  const infos = openInputs(model);
  const sizes = new Map(Object.entries(options.dims ?? {}));
  const used = new Set<string>();
  const fail = (problem: string): never => {
    throw new OnnxError(file, problem);
  };
  const unknown = Object.keys(options.shapes ?? {}).find((name) => !infos.some((i) => i.name === name));
  if (unknown !== undefined) {
    fail(`has no input ${unknown} (option shapes); its inputs: ${listed(infos.map((i) => i.name))}`);
  }

  /** Fits a shape from the options to the declared one; a named dimension then has that size elsewhere too. */
  const adopt = (name: string, declared: readonly Dimension[], shape: Shape): void => {
    const fits = shape.length === declared.length && declared.every((d, i) => typeof d !== 'number' || d === shape[i]);
    if (!fits) {
      fail(`input ${shown(name)} has shape ${describe(declared)}, to which ${describeShape(shape)} does not fit`);
    }
    declared.forEach((d, i) => {
      if (typeof d !== 'string') return;
      const before = sizes.get(d);
      if (before !== undefined && before !== shape[i]) {
        fail(`dimension ${shown(d)} is given as ${before} and as ${shape[i]}`);
      }
      sizes.set(d, shape[i]!);
    });
  };
  for (const info of infos) {
    const declared = declaredShape(info);
    const shape = options.shapes?.[info.name];
    if (declared && shape) adopt(info.name, declared, shape);
    for (const d of declared ?? []) if (typeof d === 'string') used.add(d);
  }
  const misnamed = Object.keys(options.dims ?? {}).find((name) => !used.has(name));
  if (misnamed !== undefined) fail(`has no dimension ${misnamed} (option dims); its open dimensions: ${listed(used)}`);

  const resolved = infos.map((info) => {
    const shape = options.shapes?.[info.name] ?? declaredShape(info);
    return { info, shape: shape?.map((d) => (typeof d === 'string' ? (sizes.get(d) ?? d) : d)) };
  });
  const open = resolved.filter(({ shape }) => !shape || shape.some((d) => typeof d !== 'number'));
  if (open.length > 0) fail(openDimensions(open));
  return resolved.map(({ info: { name, type }, shape }): Port => {
    const elementType = type?.tensorType?.elemType;
    if (elementType === undefined) return fail(`input ${shown(name)} is not a tensor`);
    const dtype = options.asFloat?.includes(name) ? 'float32' : computeDtype(elementType);
    if (!dtype) return fail(`input ${shown(name)} has unsupported elements: ${elementTypeName(elementType)}`);
    const sized = shape as Shape;
    const odd = sized.length > LIMITS.rank || sized.some((d) => !Number.isSafeInteger(d) || d < 0);
    if (odd || sizeOf(sized) > LIMITS.elements) {
      fail(`input ${shown(name)} has the impossible shape ${describeShape(sized)}`);
    }
    return { name, shape: sized, dtype };
  });
}

/** Says which dimensions are open and what to write to close them. */
function openDimensions(open: readonly { info: ValueInfoMessage; shape: readonly Dimension[] | undefined }[]): string {
  const list = open.map(({ info, shape }) => `${shown(info.name)} ${shape ? describe(shape) : '(any shape)'}`);
  const named = new Set(open.flatMap(({ shape }) => shape?.filter((d) => typeof d === 'string') ?? []));
  const nameless = open.filter(({ shape }) => !shape || shape.includes(null));
  const entries = (names: readonly string[], value: string): string =>
    names.map((n) => `${quoted(n)}: ${value}`).join(', ');
  const remedies = [
    ...(named.size ? [`dims: { ${entries([...named], '…')} }`] : []),
    ...(nameless.length ? [`shapes: { ${entries(nameless.map(({ info }) => info.name), '[…]')} }`] : []),
  ];
  return `leaves shapes of its inputs open: ${list.join(', ')}. Give the options { ${remedies.join(', ')} }`;
}
