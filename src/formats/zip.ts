/** @file The directory of a zip archive whose entries are stored uncompressed (as PyTorch writes them), zip64 too. */
import { readBytes, readUpTo, type ByteSource } from './byte-source.js';
import { FormatError, shown } from './errors.js';

/** An entry, as the directory describes it. */
export interface ZipEntry {
  readonly name: string;
  readonly size: number;
  /** Where its own header begins, which `locateEntry` reads. */
  readonly header: number;
}

const END = 0x06054b50;
const END64_LOCATOR = 0x07064b50;
const END64 = 0x06064b50;
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;
/** Room for ten times as many entries as SDXL's checkpoints have. */
const MAX_DIRECTORY_BYTES = 1 << 22;

/** Lists an archive's entries by name. Compressed, encrypted and doubly named entries are refused. */
export async function readZipDirectory(source: ByteSource): Promise<Map<string, ZipEntry>> {
  const { where } = source;
  const { offset, size, count } = await findDirectory(source);
  if (size > MAX_DIRECTORY_BYTES || offset + size > source.size || count * 46 > size) {
    throw damaged(where, `its directory of ${count} entries lies at ${offset}, ${size} bytes long`);
  }
  const directory = await readBytes(source, offset, size);
  const entries = new Map<string, ZipEntry>();
  for (let at = 0, index = 0; index < count; index++) {
    if (at + 46 > size || directory.readUInt32LE(at) !== CENTRAL) throw damaged(where, `entry ${index} is malformed`);
    const nameEnd = at + 46 + directory.readUInt16LE(at + 28);
    const extraEnd = nameEnd + directory.readUInt16LE(at + 30);
    if (extraEnd > size) throw damaged(where, `entry ${index} is malformed`);
    const name = directory.toString('utf8', at + 46, nameEnd);
    if (entries.has(name)) throw damaged(where, `holds "${shown(name)}" twice`);
    if (directory.readUInt16LE(at + 8) & 1 || directory.readUInt16LE(at + 10) !== 0) {
      throw new FormatError(`${where}: entry "${shown(name)}"`, 'is compressed or encrypted',
        'PyTorch stores tensors uncompressed: save the file again with torch.save, or as safetensors.');
    }
    const place = entryPlace(directory, at, nameEnd, extraEnd);
    if (!place) throw damaged(where, `entry "${shown(name)}" lacks its zip64 sizes`);
    if (place.header + 30 + place.size > source.size) throw damaged(where, `entry "${shown(name)}" lies outside the file`);
    entries.set(name, { name, ...place });
    at = extraEnd + directory.readUInt16LE(at + 32);
  }
  return entries;
}

function damaged(where: string, problem: string): FormatError {
  return new FormatError(where, `is a damaged zip archive: ${problem}`, 'Download or copy the file again.');
}

/**
 * Position and length of the central directory, from the record at the archive's end. A 64-bit value too large to be
 * exact is also larger than any file, which the bounds checks then report.
 */
async function findDirectory(source: ByteSource): Promise<{ offset: number; size: number; count: number }> {
  const { where } = source;
  const tailStart = Math.max(0, source.size - 65_557); // the record and its longest possible comment
  const tail = await readBytes(source, tailStart, source.size - tailStart);
  let at = tail.length - 22;
  while (at >= 0 && tail.readUInt32LE(at) !== END) at--;
  if (at < 0) throw damaged(where, 'it has no end record');
  const plain = {
    count: tail.readUInt16LE(at + 10), size: tail.readUInt32LE(at + 12), offset: tail.readUInt32LE(at + 16),
  };
  if (at < 20 || tail.readUInt32LE(at - 20) !== END64_LOCATOR) return plain;
  const end64 = Number(tail.readBigUInt64LE(at - 12));
  if (end64 + 56 > source.size) throw damaged(where, 'its zip64 end record lies outside the file');
  const record = await readBytes(source, end64, 56);
  if (record.readUInt32LE(0) !== END64) throw damaged(where, 'its zip64 end record is malformed');
  return {
    count: Number(record.readBigUInt64LE(32)),
    size: Number(record.readBigUInt64LE(40)),
    offset: Number(record.readBigUInt64LE(48)),
  };
}

/** Size and local-header offset of a directory entry; values of 2^32 - 1 stand in its zip64 field instead. */
function entryPlace(
  directory: Buffer, at: number, extraStart: number, extraEnd: number,
): { size: number; header: number } | undefined {
  const uncompressed = directory.readUInt32LE(at + 24);
  const fields = [uncompressed, directory.readUInt32LE(at + 20), directory.readUInt32LE(at + 42)];
  if (fields.includes(0xffffffff)) {
    for (let extra = extraStart; extra + 4 <= extraEnd;) {
      const end = extra + 4 + directory.readUInt16LE(extra + 2);
      if (end > extraEnd) return undefined;
      if (directory.readUInt16LE(extra) === 1) {
        let next = extra + 4;
        for (let i = 0; i < 3; i++) {
          if (fields[i] !== 0xffffffff) continue;
          if (next + 8 > end) return undefined;
          fields[i] = Number(directory.readBigUInt64LE(next));
          next += 8;
        }
        return { size: fields[0]!, header: fields[2]! };
      }
      extra = end;
    }
    return undefined;
  }
  return { size: uncompressed, header: fields[2]! };
}

/**
 * Where an entry's bytes begin: its own header is followed by a name and padding of lengths found only there.
 * @throws FormatError if there is no such entry, or another than the directory says
 */
export async function locateEntry(source: ByteSource, { name, size, header }: ZipEntry): Promise<number> {
  const fail = (problem: string) => damaged(source.where, `entry "${shown(name)}" ${problem}`);
  const local = await readBytes(source, header, 30);
  if (local.readUInt32LE(0) !== LOCAL) throw fail('has no local header');
  const nameBytes = local.readUInt16LE(26);
  if ((await readUpTo(source, header + 30, nameBytes)).toString('utf8') !== name) throw fail('has another name there');
  const offset = header + 30 + nameBytes + local.readUInt16LE(28);
  if (offset + size > source.size) throw fail('lies outside the file');
  return offset;
}
