/** @file The safetensors format (github.com/huggingface/safetensors): lazy reading, streaming writing. */
import type { HostTensor } from '../graph/dtype.js';
import { writeAtomic } from './atomic.js';
import { bufferSource, fileSource, readBytes, type ByteSource } from './byte-source.js';
import { FormatError } from './errors.js';
import { readFloat8 } from './float8.js';
import { layOut, MAX_HEADER_BYTES, parseHeader } from './safetensors-header.js';
import { byteLength, converted, readTensor, tensorInfo, type TensorInfo, type WeightSource } from './weights.js';

/** Opens a file: only its header is read. A FormatError says what is wrong with it. */
export async function openSafetensors(path: string): Promise<WeightSource> {
  return fromSource(await fileSource(path));
}

/** Opens a file that lies in memory; `name` is what messages call it. */
export async function safetensorsFromBytes(bytes: Uint8Array, name: string): Promise<WeightSource> {
  return fromSource(bufferSource(bytes, name));
}

async function fromSource(source: ByteSource): Promise<WeightSource> {
  const { where } = source;
  try {
    const start = 8 + await headerLength(source);
    const text = decodeUtf8(await readBytes(source, 8, start - 8), where);
    const { metadata, tensors } = parseHeader(text, source.size - start, where);
    return {
      where,
      metadata,
      tensors,
      async read(name, as = 'stored') {
        const placed = tensorInfo(where, tensors, name);
        const at = start + placed.begin;
        if (!placed.float8) return readTensor(source, at, placed, as);
        return converted(await readFloat8(source, at, placed.shape, placed.float8), as);
      },
      close: () => source.close(),
    };
  } catch (error) {
    await source.close();
    throw error;
  }
}

async function headerLength(source: ByteSource): Promise<number> {
  const { where, size } = source;
  if (size < 10) throw new FormatError(where, `is ${size} bytes long, too short`, 'Download or export it again.');
  const length = (await readBytes(source, 0, 8)).readBigUInt64LE();
  if (length > MAX_HEADER_BYTES && Number(length) <= size - 8) {
    throw new FormatError(where, `has a header of ${length} bytes, more than ${MAX_HEADER_BYTES}`,
      'No image model needs as much: it is another kind of file, or hostile.');
  }
  if (Number(length) > size - 8) {
    throw new FormatError(where, `announces a header of ${length} bytes in a file of ${size}`,
      'It is truncated or not a safetensors file: download or export it again.');
  }
  return Number(length);
}

function decodeUtf8(bytes: Uint8Array, where: string): string {
  try {
    // ignoreBOM keeps a byte order mark in the text, where it is refused: the format demands "{" first.
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new FormatError(where, 'has a header that is not UTF-8', 'It is damaged: download or export it again.',
      { cause });
  }
}

/** A tensor that is made when its turn to be written comes, so that not all need to be in memory at once. */
export interface LazyTensor extends TensorInfo {
  load(): Promise<HostTensor>;
}

/**
 * Writes tensors atomically, sorted as the reference writer sorts them. Row-major data of the stated shape.
 * @param metadata free text for the header, string to string
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<readonly [string, HostTensor | LazyTensor]>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const { header, ordered } = layOut(tensors, metadata, path);
  const size = ordered.reduce((sum, [, tensor]) => sum + byteLength(tensor), header.length);
  await writeAtomic(path, async (sink) => {
    await sink(header);
    for (const [name, tensor] of ordered) {
      const bytes = tensorBytes('load' in tensor ? await tensor.load() : tensor);
      // The offsets are already written: a tensor of another size would make all that follow it wrong.
      if (bytes.length !== byteLength(tensor)) {
        throw new Error(`${path}: tensor "${name}" has ${bytes.length} bytes, not ${byteLength(tensor)}`);
      }
      await sink(bytes);
    }
  }, size);
}

/** A tensor's memory as bytes, without a copy. */
export function tensorBytes({ data }: HostTensor): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
