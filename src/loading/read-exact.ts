/** @file The weights that a network asks for, out of a file that may hold more. */
import { FormatError } from '../formats/errors.js';
import { openWeights } from '../formats/open-weights.js';
import { tensorInfo } from '../formats/weights.js';
import type { WeightSource } from '../formats/weights.js';
import type { HostTensor, Shape } from '../graph/dtype.js';
import { describeShape } from '../graph/errors.js';
import { deferred } from '../host/resources.js';

/**
 * Float32 of the tensors `shapes` names.
 *
 * @param remedy which file to give, as a sentence
 * @throws FormatError naming the first that is missing or of another shape
 */
export async function readExact(source: WeightSource, shapes: ReadonlyMap<string, Shape>, remedy: string): Promise<Map<string, HostTensor>> {
  for (const [name, shape] of shapes) {
    if (!source.tensors.has(name)) throw new FormatError(source.where, `has no tensor "${name}"`, remedy);
    const given = tensorInfo(source.where, source.tensors, name).shape;
    if (given.join() !== shape.join()) throw new FormatError(source.where, `its "${name}" is ${describeShape(given)}, not ${describeShape(shape)}`, remedy);
  }
  const weights = new Map<string, HostTensor>();
  for (const name of shapes.keys()) weights.set(name, await source.read(name, 'float32'));
  return weights;
}

/** The same of a safetensors or PyTorch file, seen through `view`. */
export async function readExactFile(
  path: string, shapes: (source: WeightSource) => ReadonlyMap<string, Shape>, remedy: string, view: (source: WeightSource) => WeightSource = (s) => s,
): Promise<Map<string, HostTensor>> {
  const file = await openWeights(path);
  await using _ = deferred(() => file.close());
  const source = view(file);
  return await readExact(source, shapes(source), remedy);
}
