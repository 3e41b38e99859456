/** @file One model component in a folder: `config.json` and its weights, as diffusers and transformers lay them out. */
import { join } from 'node:path';
import { writeAtomic } from '../formats/atomic.js';
import { FormatError } from '../formats/errors.js';
import { readJsonFile } from '../formats/json.js';
import { writeSafetensors } from '../formats/safetensors.js';
import { openComponent } from '../formats/sharded.js';
import { readAll } from '../formats/weights.js';
import type { HostTensor } from '../graph/dtype.js';
import { fromFloat32, toFloat32 } from '../graph/dtype.js';
import { componentSchema, componentShapes } from './components.js';
import type { ComponentClass, ComponentConfigs } from './components.js';
import { parseConfig } from './config.js';

/** A component with its numbers, float32. */
export interface Component<K extends ComponentClass = ComponentClass> {
  readonly kind: K;
  readonly config: ComponentConfigs[K];
  readonly weights: ReadonlyMap<string, HostTensor>;
}

const isDiffusers = (kind: ComponentClass): boolean => !kind.startsWith('CLIP');

/** The usual name of the weights file of a component. */
const weightsFile = (kind: ComponentClass): string =>
  isDiffusers(kind) ? 'diffusion_pytorch_model.safetensors' : 'model.safetensors';

/**
 * Reads a component's folder; weights become float32.
 *
 * @throws FormatError naming the file and what is missing, unexpected or misshaped
 */
export async function readComponent<K extends ComponentClass>(
  folder: string,
  kind: K,
  options: { variant?: string; onProgress?: (done: number, total: number) => void } = {},
): Promise<Component<K>> {
  const path = join(folder, 'config.json');
  const config = parseConfig(componentSchema(kind), await readJsonFile(path), path) as ComponentConfigs[K];
  const source = await openComponent(folder, options.variant);
  const weights = await readAll(source, 'float32', options.onProgress).finally(() => source.close());
  checkWeights(source.where, componentShapes(kind, config), weights);
  return { kind, config, weights };
}

/** Buffers that old checkpoints carry and that nothing reads. */
const IGNORED = /(^|\.)position_ids$/;

/** @throws FormatError listing the first of the weights that are missing, unexpected or of another shape */
export function checkWeights(
  where: string,
  shapes: ReadonlyMap<string, readonly number[]>,
  weights: Map<string, HostTensor>,
): void {
  for (const name of weights.keys()) if (IGNORED.test(name)) weights.delete(name);
  const problems: string[] = [];
  for (const [name, shape] of shapes) {
    const t = weights.get(name);
    if (!t) problems.push(`"${name}" is missing`);
    else if (t.shape.join() !== shape.join()) problems.push(`"${name}" is [${t.shape.join(', ')}], not [${shape.join(', ')}]`);
  }
  for (const name of weights.keys()) if (!shapes.has(name)) problems.push(`"${name}" is not expected`);
  if (problems.length > 0) {
    const more = problems.length > 8 ? ` and ${problems.length - 8} more` : '';
    throw new FormatError(where, `does not fit its config.json: ${problems.slice(0, 8).join('; ')}${more}`,
      'Weights and configuration must come from the same model.');
  }
}

/** Writes a component's folder: configuration first, then the weights, each file atomically. */
export async function writeComponent<K extends ComponentClass>(
  folder: string,
  component: Component<K>,
  dtype: 'float32' | 'float16' = 'float16',
): Promise<void> {
  const { kind, config, weights } = component;
  const label = isDiffusers(kind) ? { _class_name: kind } : { architectures: [kind] };
  await writeAtomic(join(folder, 'config.json'), `${JSON.stringify({ ...label, ...config }, null, 2)}\n`);
  const stored = [...weights].map(([name, t]) => [name, fromFloat32(toFloat32(t), t.shape, dtype)] as const);
  await writeSafetensors(join(folder, weightsFile(kind)), stored, { format: 'pt' });
}
