/**
 * @file TensorBoard event files: scalars, pictures and text. The records are TensorFlow's `Event` messages
 * (tensorflow/core/util/event.proto, framework/summary.proto), few enough fields to be encoded by hand.
 */
import { mkdir, open, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { appendWhole } from './atomic.js';
import { crc32c } from './crc.js';
import { tellFullDisk } from './disk-full.js';

export interface EventWriter {
  readonly path: string;
  scalar(tag: string, value: number, step: number): Promise<void>;
  /** `png` is a PNG file of the given size in pixels. */
  image(tag: string, png: Uint8Array, width: number, height: number, step: number): Promise<void>;
  /** Shown as Markdown. */
  text(tag: string, text: string, step: number): Promise<void>;
}

export interface EventWriterOptions {
  /** On resume: what earlier files of the folder say of this step and later ones is superseded. */
  readonly purgeStep?: number;
  /** Seconds since 1970. Default: the clock. */
  readonly now?: () => number;
}

/**
 * Starts a new event file in `folder` (made if missing); TensorBoard reads all files of a folder as one run. Every
 * event is in the file, whole, when its promise resolves.
 *
 * @throws DiskFullError, as its functions do, if there is no room
 */
export async function openEventWriter(folder: string, options: EventWriterOptions = {}): Promise<EventWriter> {
  const { purgeStep, now = () => Date.now() / 1000 } = options;
  await mkdir(folder, { recursive: true });
  const path = await create(folder, Math.floor(now()));
  // Writes are chained: two events logged without awaiting must not mix their bytes.
  let last: Promise<void> = Promise.resolve();
  const write = (step: number, content: Uint8Array) => {
    const event = Buffer.concat([double(1, now()), varint(2, step), content]);
    const written = last.then(() => appendWhole(path, record(event)));
    last = written.catch(() => {}); // one that failed is told where it was asked for, and does not keep the next
    return written;
  };
  const summary = (step: number, ...value: Uint8Array[]) =>
    write(step, bytes(5, bytes(1, Buffer.concat(value)))); // Event.summary { value { … } }
  try {
    await write(purgeStep ?? 0, bytes(3, 'brain.Event:2')); // Event.file_version
    if (purgeStep !== undefined) await write(purgeStep, bytes(7, varint(1, 1))); // Event.session_log { status: START }
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
  return {
    path,
    scalar: (tag, value, step) => summary(step, bytes(1, tag), float(2, value)),
    image: (tag, png, width, height, step) => summary(step, bytes(1, tag),
      bytes(4, Buffer.concat([varint(1, height), varint(2, width), varint(3, 3), bytes(4, png)]))), // 3: RGB
    text: (tag, text, step) => summary(step, bytes(1, tag),
      // tensor { dtype: DT_STRING, tensor_shape { dim { size: 1 } }, string_val }
      bytes(8, Buffer.concat([varint(1, 7), bytes(2, bytes(2, varint(1, 1))), bytes(8, text)])),
      bytes(9, bytes(1, bytes(1, 'text')))), // metadata { plugin_data { plugin_name } }
  };
}

/** Creates `events.out.tfevents.<seconds>.<host>.<pid>.<n>` with the first n that is free. */
async function create(folder: string, seconds: number): Promise<string> {
  const host = hostname().replace(/[^\w.-]/g, '_');
  for (let n = 0; ; n++) {
    const name = `events.out.tfevents.${String(seconds).padStart(10, '0')}.${host}.${process.pid}.${n}`;
    const path = join(folder, name);
    try {
      await tellFullDisk(path, null, async () => (await open(path, 'ax')).close());
      return path;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
}

/** Frames an event: length, masked CRC-32C of the length, bytes, masked CRC-32C of the bytes (TFRecord). */
export function record(event: Uint8Array): Buffer {
  const out = Buffer.alloc(16 + event.length);
  out.writeBigUInt64LE(BigInt(event.length));
  out.writeUInt32LE(maskedCrc(out.subarray(0, 8)), 8);
  out.set(event, 12);
  out.writeUInt32LE(maskedCrc(event), 12 + event.length);
  return out;
}

/** The rotation keeps the check of a text that holds its own check from being trivial. */
function maskedCrc(data: Uint8Array): number {
  const crc = crc32c(data);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

// Protocol buffer fields: (number << 3 | wire type), then the value.

function rawVarint(value: number): number[] {
  const out: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) out.push((rest % 128) | 128);
  return [...out, rest];
}

function varint(field: number, value: number): Buffer {
  return Buffer.from([field << 3, ...rawVarint(value)]);
}

function double(field: number, value: number): Buffer {
  const out = Buffer.alloc(9, (field << 3) | 1);
  out.writeDoubleLE(value, 1);
  return out;
}

function float(field: number, value: number): Buffer {
  const out = Buffer.alloc(5, (field << 3) | 5);
  out.writeFloatLE(value, 1);
  return out;
}

function bytes(field: number, value: Uint8Array | string): Buffer {
  const content = typeof value === 'string' ? Buffer.from(value) : value;
  return Buffer.concat([Buffer.from([(field << 3) | 2, ...rawVarint(content.length)]), content]);
}
