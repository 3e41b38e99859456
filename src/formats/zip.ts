/** @file The directory of a zip archive whose entries are stored uncompressed (as PyTorch writes them), zip64 too. */
import { readBytes, type ByteSource } from './byte-source.js';
import { FormatError, shown } from './errors.js';

/** Where an entry's bytes lie in the archive. */
export interface ZipEntry {
  readonly offset: number;
  readonly size: number;
}

const END = 0x06054b50;
const END64_LOCATOR = 0x07064b50;
const END64 = 0x06064b50;
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;
const MAX_DIRECTORY_BYTES = 1 << 26;

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
    entries.set(name, await locate(source, name, place));
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

/** Where an entry's bytes begin: its own header is followed by a name and padding of lengths found only there. */
async function locate(source: ByteSource, name: string, place: { size: number; header: number }): Promise<ZipEntry> {
  const outside = () => damaged(source.where, `entry "${shown(name)}" lies outside the file`);
  if (place.header + 30 > source.size) throw outside();
  const local = await readBytes(source, place.header, 30);
  if (local.readUInt32LE(0) !== LOCAL) throw damaged(source.where, `entry "${shown(name)}" has no local header`);
  const offset = place.header + 30 + local.readUInt16LE(26) + local.readUInt16LE(28);
  if (offset + place.size > source.size) throw outside();
  return { offset, size: place.size };
}
