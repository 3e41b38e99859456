/** @file Rows of Parquet files, as the hub keeps data sets: texts and numbers, read by hyparquet; pictures and lists in them are passed over. */
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import * as zlib from 'node:zlib';
import { parquetMetadataAsync, parquetReadObjects, parquetSchema, snappyUncompress } from 'hyparquet';
import type { FileMetaData, ParquetReadOptions } from 'hyparquet';
import { deferred } from '../host/resources.js';
import { fileSource, readBytes } from './byte-source.js';
import { FormatError, shown } from './errors.js';
import { MOST_LINES } from './text-file.js';

const REMEDY = 'Download it again, or write it anew with pyarrow or pandas.';
/** The most bytes that the wanted columns may take: a page says itself how large it becomes. */
const MOST = 2 ** 28;

export interface ParquetRow {
  /** From 1 on. */
  readonly row: number;
  readonly cells: Readonly<Record<string, string | number | boolean>>;
}

type Decompress = (input: Uint8Array, outputLength: number) => Uint8Array;

const bounded = (decompress: Decompress): Decompress => (input, length) => {
  if (length > MOST) throw new RangeError(`a page of ${length} bytes`);
  return decompress(input, length);
};

/** Of Node from 22.15 on. */
const zstd = (zlib as unknown as { zstdDecompressSync?: (input: Uint8Array, options: object) => Uint8Array }).zstdDecompressSync;

const COMPRESSORS = {
  SNAPPY: bounded((input, length) => {
    const output = new Uint8Array(length);
    snappyUncompress(input, output);
    return output;
  }),
  GZIP: bounded((input, length) => gunzipSync(input, { maxOutputLength: Math.max(1, length) })),
  BROTLI: bounded((input, length) => brotliDecompressSync(input, { maxOutputLength: Math.max(1, length) })),
  ...(zstd && { ZSTD: bounded((input, length) => zstd(input, { maxOutputLength: Math.max(1, length) })) }),
};

type Schema = ReturnType<typeof parquetSchema>;

/** Flat columns of texts and numbers. */
function readable({ children }: Schema): string[] {
  return children.filter(({ children: inner, element: { type, converted_type: kind, logical_type: logical, repetition_type: repeated } }) =>
    inner.length === 0 && repeated !== 'REPEATED' && (type !== 'BYTE_ARRAY' || kind === 'UTF8' || kind === 'ENUM' || logical?.type === 'STRING')
    && type !== 'FIXED_LEN_BYTE_ARRAY' && type !== 'INT96').map(({ element }) => element.name);
}

/**
 * The rows of a file, with the columns of texts and numbers by their names in lower case; what is null is not there.
 *
 * @throws FormatError for a file that is none, is damaged, or of a codec or a size that is not read
 */
export async function readParquet(path: string): Promise<{ columns: string[]; rows: ParquetRow[] }> {
  const source = await fileSource(path);
  await using _ = deferred(() => source.close());
  const file: ParquetReadOptions['file'] = {
    byteLength: source.size,
    async slice(start, end = source.size) {
      const [from, to] = [start < 0 ? source.size + start : start, end < 0 ? source.size + end : end];
      if (!(from >= 0 && to >= from && to <= source.size && to - from <= MOST)) throw new RangeError(`bytes ${start} to ${end} of ${source.size}`);
      return new Uint8Array(await readBytes(source, from, to - from)).buffer;
    },
  };
  const read = async <T>(work: () => Promise<T>): Promise<T> => work().catch((cause: unknown) => {
    if (cause instanceof FormatError) throw cause;
    const { message } = cause as Error;
    const codec = /codec:? (\w+)/i.exec(message)?.[1];
    throw new FormatError(path, codec ? `is compressed with ${codec}, which is not read here` : `is no Parquet file that can be read (${shown(message)})`,
      codec ? 'Write it with compression="snappy" or "gzip".' : REMEDY, { cause });
  });
  const metadata = await read(() => parquetMetadataAsync(file));
  const names = await read(async () => readable(parquetSchema(metadata)));
  checkSize(path, metadata, names);
  const objects = await read(() => parquetReadObjects({ file, metadata, columns: names, compressors: COMPRESSORS }));
  return {
    columns: names.map((name) => name.trim().toLowerCase()),
    rows: objects.map((object, i) => ({ row: i + 1, cells: Object.fromEntries(Object.entries(object).flatMap(([name, value]) => {
      const plain: unknown = typeof value === 'bigint' ? Number(value) : value;
      return plain === null || plain === undefined ? [] : [[name.trim().toLowerCase(), plain as string]];
    })) })),
  };
}

function checkSize(path: string, { num_rows: count, row_groups: groups }: FileMetaData, names: readonly string[]): void {
  if (count > MOST_LINES) throw new FormatError(path, `has ${count} rows, and ${MOST_LINES} are the most that are read`, 'Split it.');
  const bytes = groups.flatMap((g) => g.columns).reduce((sum, { meta_data: m }) =>
    sum + (m && names.includes(m.path_in_schema[0]!) ? Number(m.total_uncompressed_size) : 0), 0);
  if (bytes > MOST) throw new FormatError(path, `has ${bytes} bytes of texts and numbers, and ${MOST} are the most that are read`, 'Split it.');
}
