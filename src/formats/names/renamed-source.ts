/** @file A weight source seen through other names: tensors renamed, split, transposed or flattened as they are read. */
import { arrayType, sizeOf, type HostTensor, type Shape } from '../../graph/dtype.js';
import { FormatError, shown } from '../errors.js';
import { tensorInfo, type ReadAs, type TensorInfo, type WeightSource } from '../weights.js';

/** One of our tensors, made from one of a file's. */
export interface Target {
  readonly name: string;
  /** Which third of the rows: the file stacks query, key and value in one matrix. */
  readonly third?: 0 | 1 | 2;
  readonly transposed?: boolean;
  /** The file may have a 1x1 convolution [O, I, 1, 1] where ours is the matrix [O, I]. */
  readonly matrix?: boolean;
}

/** `source` with our names and shapes. A key for which `targetsOf` returns none is left out. */
export function renamedSource(source: WeightSource, targetsOf: (key: string) => readonly Target[]): WeightSource {
  const { where } = source;
  const origins = new Map<string, TensorInfo & { key: string; target: Target }>();
  for (const [key, { dtype, shape }] of source.tensors) {
    for (const target of targetsOf(key)) {
      if ((target.third !== undefined && !(shape[0]! % 3 === 0)) || (target.transposed && shape.length !== 2)) {
        throw new FormatError(`${where}: tensor "${shown(key)}"`, `has the shape [${shape.join(', ')}], which does ` +
          'not fit its name', 'The file is damaged: download it again.');
      }
      origins.set(target.name, { dtype, shape: targetShape(shape, target), key, target });
    }
  }
  let stacked: { key: string; as: ReadAs | undefined; tensor: HostTensor } | undefined;
  return {
    where,
    metadata: source.metadata,
    tensors: origins,
    async read(name, as) {
      const { key, target } = tensorInfo(where, origins, name);
      if (target.third === undefined) return cut(await source.read(key, as), target);
      // The thirds of a matrix are asked for one after the other: it is read once for them.
      if (stacked?.key !== key || stacked.as !== as) stacked = { key, as, tensor: await source.read(key, as) };
      return cut(stacked.tensor, target);
    },
    async close() {
      stacked = undefined;
      await source.close();
    },
  };
}

function targetShape(shape: Shape, { third, transposed, matrix }: Target): Shape {
  if (third !== undefined) return [shape[0]! / 3, ...shape.slice(1)];
  if (transposed) return shape.toReversed();
  return matrix && shape.length === 4 && shape[2] === 1 && shape[3] === 1 ? shape.slice(0, 2) : shape;
}

/** The part of a tensor that `target` asks for, copied unless it is the whole. */
function cut(tensor: HostTensor, target: Target): HostTensor {
  const shape = targetShape(tensor.shape, target);
  const { data, dtype } = tensor;
  if (target.third !== undefined) {
    const size = sizeOf(shape);
    return { dtype, shape, data: data.slice(target.third * size, (target.third + 1) * size) };
  }
  if (!target.transposed) return { dtype, shape, data };
  const [rows, columns] = shape as [number, number];
  const out = new (arrayType(dtype))(data.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[r * columns + c] = data[c * rows + r]!;
  return { dtype, shape, data: out };
}
