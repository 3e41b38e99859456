import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { crc32, crc32c } from '../../src/formats/crc.js';
import { openEventWriter, record } from '../../src/formats/tfevents.js';
import { scratch } from './helpers.js';

const folder = scratch();

it('computes the standard check values', () => {
  const digits = Buffer.from('123456789');
  expect(crc32(digits)).toBe(0xcbf43926);
  expect(crc32c(digits)).toBe(0xe3069283);
  expect(crc32c(Buffer.alloc(32))).toBe(0x8a9136aa); // RFC 3720, B.4
  expect(crc32c(Buffer.alloc(32, 0xff))).toBe(0x62a8ab43);
});

it('frames a record as TensorFlow does', () => {
  // The length 24 of the first event of every event file and its masked check, as TensorFlow writes them.
  expect(record(new Uint8Array(24)).subarray(0, 12).toString('hex')).toBe('1800000000000000a37f4b22');
});

/** The payloads of a file, with both checks verified. */
function events(path: string): Buffer[] {
  const bytes = readFileSync(path);
  const found: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = Number(bytes.readBigUInt64LE(at));
    const payload = bytes.subarray(at + 12, at + 12 + length);
    expect(bytes.subarray(at, at + 16 + length).equals(record(payload))).toBe(true);
    found.push(payload);
    at += 16 + length;
  }
  return found;
}

it('writes known bytes', async () => {
  const writer = await openEventWriter(join(folder, 'known'), { now: () => 1.5 });
  await writer.scalar('loss', 0.25, 300);
  expect(events(writer.path)).toHaveLength(2);
  await writer.image('i', Buffer.from('PNG'), 2, 1, 5);
  await writer.text('t', 'hi', 0);
  const time = '09000000000000f83f'; // wall_time 1.5
  // What the protobuf library makes of these messages (tensorboard 2.21), but for step 0, which it leaves out.
  expect(events(writer.path).map((event) => event.toString('hex'))).toEqual([
    `${time}1000` + '1a0d' + Buffer.from('brain.Event:2').toString('hex'),
    // step 300, summary { value { tag "loss" simple_value 0.25 } }
    `${time}10ac02` + '2a0d' + '0a0b' + '0a04' + Buffer.from('loss').toString('hex') + '150000803e',
    // image { height 1 width 2 colorspace 3 encoded "PNG" }
    `${time}1005` + '2a12' + '0a10' + '0a0169' + '220b' + '080110021803' + '2203504e47',
    // tensor { dtype 7 shape { dim { size 1 } } string_val "hi" } metadata { plugin_data { plugin_name "text" } }
    `${time}1000` + '2a1d' + '0a1b' + '0a0174' + '420c' + '0807' + '12041202' + '0801' + '42026869' +
      '4a08' + '0a06' + '0a0474657874',
  ]);
  expect(writer.path).toMatch(/events\.out\.tfevents\.0000000001\.[\w.-]+\.\d+\.0$/);
});

it('says on resume what is superseded, in a file of its own', async () => {
  const path = join(folder, 'resumed');
  await openEventWriter(path, { now: () => 1 });
  const second = await openEventWriter(path, { now: () => 1, purgeStep: 40 });
  expect(readdirSync(path)).toHaveLength(2);
  expect(events(second.path).map((event) => event.subarray(9).toString('hex'))).toEqual([
    '1028' + '1a0d' + Buffer.from('brain.Event:2').toString('hex'), '1028' + '3a020801',
  ]);
});

it('keeps records whole when several are written at once', async () => {
  const writer = await openEventWriter(join(folder, 'many'));
  const large = Buffer.alloc(1_300_000, 7); // written in more than one piece
  await Promise.all([0, 1, 2, 3].map((step) => writer.image('i', large, 1, 1, step)));
  expect(events(writer.path)).toHaveLength(5);
});
