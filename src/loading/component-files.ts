/** @file One model component in a folder: `config.json` and its weights, as diffusers and transformers lay them out. */
import { join } from 'node:path';
import { writeAtomic } from '../formats/atomic.js';
import { FormatError, shown } from '../formats/errors.js';
import { readJsonFile } from '../formats/json-file.js';
import { textFromClip } from '../formats/names/ldm-text.js';
import { presentVae } from '../formats/names/ldm-vae.js';
import { renamedSource } from '../formats/names/renamed-source.js';
import { writeSafetensors } from '../formats/safetensors.js';
import { openComponent } from '../formats/sharded.js';
import { byteLength } from '../formats/weights.js';
import type { WeightSource } from '../formats/weights.js';
import { fromFloat32, host, toFloat32 } from '../graph/dtype.js';
import type { HostTensor, Shape, StoredType } from '../graph/dtype.js';
import { describeShape } from '../graph/errors.js';
import { deferred } from '../host/resources.js';
import { componentSchema, componentShapes, modelTypeOf } from '../models/components.js';
import type { ComponentClass, ComponentConfigs } from '../models/components.js';
import { parseConfig } from '../models/config.js';

/** A component with its numbers: float32, or what they were asked to be stored as. */
export interface Component<K extends ComponentClass = ComponentClass> {
  readonly kind: K;
  readonly config: ComponentConfigs[K];
  readonly weights: ReadonlyMap<string, HostTensor>;
}

/** Called with the bytes of the files read so far and in all. */
export type OnBytes = (done: number, total: number) => void;

export interface ReadOptions {
  /** 'fp16' or 'bf16' to insist on it. */
  variant?: string;
  onProgress?: OnBytes;
}

/**
 * A tensor as it is to lie in memory. Matrices, kernels and tables alone are kept in half precision: biases and the scales
 * of norms are next to nothing beside them.
 */
async function readAs(source: WeightSource, name: string, shape: Shape, storage: StoredType): Promise<HostTensor> {
  const kept = shape.length < 2 ? 'float32' : storage;
  const same = source.tensors.get(name)!.dtype === kept;
  const { data } = await source.read(name, same ? 'stored' : 'float32');
  if (same || kept === 'float32') return host(data, shape, kept);
  const wide = data as Float32Array;
  if (kept === 'float16' && wide.some((v) => Math.abs(v) >= 65520 && Number.isFinite(v))) {
    throw new FormatError(source.where, `"${shown(name)}" has numbers that float16 cannot hold`, 'Take bfloat16-storage or float32 as precision.');
  }
  return fromFloat32(wide, shape, kept);
}

/**
 * Reads a component's folder; weights become float32.
 *
 * @throws FormatError naming the file and what is missing, unexpected or misshaped
 */
export async function readComponent<K extends ComponentClass>(
  folder: string, kind: K, options: ReadOptions = {},
): Promise<Component<K>> {
  const opened = await openComponentFolder(folder, kind, options.variant);
  await using _ = deferred(() => opened.source.close());
  const weights = await readWeights(opened.source, kind, opened.config, options.onProgress);
  return { kind, config: opened.config, weights };
}

/** The configuration of a component's folder, and its weights not yet read; the caller closes them. */
export async function openComponentFolder<K extends ComponentClass>(
  folder: string, kind: K, variant?: string,
): Promise<{ config: ComponentConfigs[K]; source: WeightSource }> {
  const path = join(folder, 'config.json');
  const config = parseConfig(componentSchema(kind), await readJsonFile(path), path) as ComponentConfigs[K];
  return { config, source: present(kind, await openComponent(folder, variant)) };
}

/**
 * Reads the weights of a component under our names, as float32 or with its matrices as `storage`. Names and shapes are
 * checked before anything is read.
 *
 * @throws FormatError listing the first of the weights that are missing, unexpected or of another shape
 */
export async function readWeights<K extends ComponentClass>(
  source: WeightSource, kind: K, config: ComponentConfigs[K], onProgress?: OnBytes, storage: StoredType = 'float32',
): Promise<Map<string, HostTensor>> {
  const shapes = componentShapes(kind, config);
  const names = [...source.tensors.keys()].filter((name) => !BUFFER.test(name));
  const problems: string[] = [];
  for (const name of names) {
    const given = source.tensors.get(name)!.shape;
    const shape = shapes.get(name);
    if (!shape) problems.push(`"${shown(name)}" is not expected`);
    else if (given.join() !== shape.join()) {
      problems.push(`"${name}" is ${describeShape(given)}, not ${describeShape(shape)}`);
    }
  }
  for (const name of shapes.keys()) if (!source.tensors.has(name)) problems.push(`"${name}" is missing`);
  if (problems.length > 0) {
    const more = problems.length > 8 ? ` and ${problems.length - 8} more` : '';
    const first = `${problems.slice(0, 8).join('; ')}${more}`;
    throw new FormatError(source.where, `does not fit the configuration of its ${kind}: ${first}`,
      'Weights and config.json must come from the same model.');
  }
  const bytes = (name: string): number => byteLength(source.tensors.get(name)!);
  const total = names.reduce((sum, name) => sum + bytes(name), 0);
  const weights = new Map<string, HostTensor>();
  let done = 0;
  for (const name of names) {
    weights.set(name, await readAs(source, name, shapes.get(name)!, storage));
    onProgress?.((done += bytes(name)), total);
  }
  return weights;
}

/** The weights under our names: older and newer versions of the libraries named some otherwise. */
function present(kind: ComponentClass, source: WeightSource): WeightSource {
  if (kind === 'AutoencoderKL') return presentVae(source);
  if (!kind.startsWith('CLIPText')) return source;
  return renamedSource(source, (key) => [{ name: textFromClip(key) ?? key }]);
}

/** Buffers that old checkpoints carry and nothing reads. */
const BUFFER = /(^|\.)position_ids$/;

/** Writes a component's folder: configuration first, then the weights, each file atomically. */
export async function writeComponent<K extends ComponentClass>(
  folder: string, { kind, config, weights }: Component<K>, dtype: StoredType = 'float16',
): Promise<void> {
  const type = modelTypeOf(kind);
  const label = type === undefined ? { _class_name: kind } : { architectures: [kind], model_type: type };
  await writeAtomic(join(folder, 'config.json'), `${JSON.stringify({ ...config, ...label }, null, 2)}\n`);
  const file = type === undefined ? 'diffusion_pytorch_model.safetensors' : 'model.safetensors';
  const stored = [...weights].map(([name, { shape, ...t }]) => [name, {
    dtype,
    shape,
    // Converted when its turn comes: a whole copy never exists.
    load: async () => fromFloat32(toFloat32({ ...t, shape }), shape, dtype),
  }] as const);
  await writeSafetensors(join(folder, file), stored, { format: 'pt' });
}
