/** @file Seeded changes to files: what transfers, disks and the ill-disposed do to them. */

/** Numbers in [0, 1), the same for the same seed (Mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What parsers trip over. */
const WORDS = [
  '{', '}', '[', ']', '"', '\\', ',', ':', '\n', '\0', '\ufeff', '- ', '? ', '&a ', '*a', '<<: *a', '!!binary ', '|\n', '# ', '--- ', '%YAML ',
  '__proto__', 'constructor', 'prototype', 'null', 'true', 'NaN', '-Infinity', '1e999', '-1', '0', '9007199254740993', '1e-400', '""',
  '__metadata__', 'data_offsets', 'F8_E4M3', '\ud800', '\x1b[2J', '../../etc/passwd', '/dev/zero', 'weight_map', '.alpha', 'lora_down.weight',
  '\x80\x02', '}q\x01', '(lp0\n', 'c__builtin__\neval\n', '.', 'PK\x01\x02', 'PK\x05\x06', '\xff\xd8\xff', '\xff\xda', 'IHDR', 'IDAT', '<svg>',
  'prompt,weight\n', '"a""', '\r\n', '\t', '𝕏', 'ﬁ', '</w>', '<|endoftext|>',
].map((word) => Buffer.from(word, /[^\0-\xff]/.test(word) ? 'utf8' : 'latin1'));

const LENGTHS = [0, 1, 7, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff];

type Change = (bytes: Buffer, random: () => number, other: Buffer) => Buffer;

const whole = (random: () => number, most: number): number => Math.floor(random() * most);
const insert = (bytes: Buffer, at: number, more: Buffer): Buffer => Buffer.concat([bytes.subarray(0, at), more, bytes.subarray(at)]);
/** Mostly near the start, where headers are. */
const place = (bytes: Buffer, random: () => number): number =>
  Math.floor((random() < 0.5 ? random() ** 3 : random()) * bytes.length);

const CHANGES: readonly Change[] = [
  // A bit, or a byte, another.
  (bytes, random) => {
    const changed = Buffer.from(bytes);
    for (let n = 1 + whole(random, 4); n > 0 && changed.length > 0; n--) {
      const at = place(changed, random);
      changed[at] = random() < 0.5 ? changed[at]! ^ (1 << whole(random, 8)) : whole(random, 256);
    }
    return changed;
  },
  // Cut short; a piece taken out.
  (bytes, random) => bytes.subarray(0, place(bytes, random)),
  (bytes, random) => {
    const at = place(bytes, random);
    return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + whole(random, 64))]);
  },
  // A piece of another file of the kind.
  (bytes, random, other) => {
    const from = place(other, random);
    return insert(bytes, place(bytes, random), other.subarray(from, from + whole(random, 256)));
  },
  // A length or count, as binary in either order or as digits.
  (bytes, random) => {
    const value = LENGTHS[whole(random, LENGTHS.length)]!;
    const digits = [...bytes.toString('latin1').matchAll(/\d+/g)];
    const number = digits[whole(random, digits.length)];
    if (random() < 0.5 && number) {
      const text = String(random() < 0.3 ? -value : value * (random() < 0.3 ? 2 ** 21 : 1));
      return Buffer.concat([bytes.subarray(0, number.index), Buffer.from(text), bytes.subarray(number.index + number[0].length)]);
    }
    const changed = Buffer.from(bytes);
    const width = [1, 2, 4][whole(random, 3)]!;
    const at = Math.max(0, Math.min(place(bytes, random), bytes.length - width));
    if (bytes.length < width) return changed;
    const part = value % 2 ** (8 * width);
    if (random() < 0.5) changed.writeUIntLE(part, at, width);
    else changed.writeUIntBE(part, at, width);
    return changed;
  },
  // A block many times over.
  (bytes, random) => {
    const from = place(bytes, random);
    const block = bytes.subarray(from, from + 1 + whole(random, 64));
    const times = Math.floor(2 ** (random() * 14));
    return insert(bytes, from, Buffer.concat(Array.from({ length: times }, () => block)));
  },
  // A word, once or nested deep.
  (bytes, random) => {
    const word = WORDS[whole(random, WORDS.length)]!;
    const times = random() < 0.8 ? 1 : Math.floor(2 ** (random() * 16));
    return insert(bytes, place(bytes, random), Buffer.concat(Array.from({ length: times }, () => word)));
  },
  // A word in the place of another text.
  (bytes, random) => {
    const texts = [...bytes.subarray(0, 4096).toString('latin1').matchAll(/\w+/g)];
    const text = texts[whole(random, texts.length)];
    if (!text) return bytes;
    return Buffer.concat([
      bytes.subarray(0, text.index), WORDS[whole(random, WORDS.length)]!, bytes.subarray(text.index + text[0].length),
    ]);
  },
];

/** One to four changes (mostly one) of `bytes`; `other` is a file of the same kind. */
export function mutate(bytes: Buffer, other: Buffer, random: () => number): Buffer {
  let changed = bytes;
  for (let n = 1 + Math.floor(4 * random() ** 3); n > 0; n--) changed = CHANGES[whole(random, CHANGES.length)]!(changed, random, other);
  return changed;
}
