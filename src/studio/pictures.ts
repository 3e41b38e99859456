/** @file Pictures of runs, asked for by run, step, strength and place; small ones made by sharp, a few at a time. */
import { realpath } from 'node:fs/promises';
import { join, sep } from 'node:path';
import sharp from 'sharp';
import { MOST_BYTES, readWhole } from '../formats/whole-file.js';
import { Refusal } from './reply.js';
import type { RunIndex } from './run-index.js';

export interface Bytes {
  readonly type: 'image/png' | 'image/webp';
  readonly bytes: Buffer;
}

/** Sides of small pictures; others are not made, so that nobody fills the store with sizes. */
export const SIZES = [128, 256, 512] as const;
/** Bytes of a file that is sent as it is, whatever size was asked for. */
const SMALL_FILE = 2 ** 15;
const MOST_PIXELS = 2 ** 26;
const AT_ONCE = 2;
const STORE = 2 ** 26;

export interface Pictures {
  /** @param size side in pixels that is enough; null for the file as it is. @throws Refusal if there is no such picture */
  get(id: string, step: number, strength: number, index: number, size: number | null): Promise<Bytes>;
}

export function openPictures(index: RunIndex): Pictures {
  const store = new Map<string, Buffer>();
  let stored = 0;
  let busy = 0;
  const waiting: (() => void)[] = [];

  /** Few at a time: the trainer wants the processors. */
  async function smaller(bytes: Buffer, side: number): Promise<Buffer> {
    if (busy >= AT_ONCE) await new Promise<void>((resolve) => waiting.push(resolve));
    busy += 1;
    try {
      return await sharp(bytes, { limitInputPixels: MOST_PIXELS }).resize({ width: side, height: side, fit: 'inside', withoutEnlargement: true })
        .webp({ quality: 88 }).toBuffer();
    } finally {
      busy -= 1;
      waiting.shift()?.();
    }
  }

  function keep(key: string, bytes: Buffer): void {
    store.set(key, bytes);
    stored += bytes.length;
    for (const [old, { length }] of store) {
      if (stored <= STORE) return;
      store.delete(old);
      stored -= length;
    }
  }

  return {
    async get(id, step, strength, place, size) {
      const folder = await index.folderOf(id);
      const log = await index.followed(id);
      const view = await log?.refresh();
      const image = view?.images.find((i) => i.step === step && i.strength === strength && i.index === place);
      if (!folder || !image) throw new Refusal(404, 'there is no such picture');
      const key = `${folder}\n${image.file}\n${image.time}\n${size}`;
      const known = store.get(key);
      if (known) return { type: 'image/webp', bytes: known };
      const bytes = await readPicture(folder, image.file);
      if (size === null || bytes.length <= SMALL_FILE) return { type: 'image/png', bytes };
      const small = await smaller(bytes, size);
      keep(key, small);
      return { type: 'image/webp', bytes: small };
    },
  };
}

/** A picture of a run. @throws Refusal if it is not in the run's folder in truth, or no PNG file */
export async function readPicture(folder: string, file: string): Promise<Buffer> {
  const bytes = await readWhole(await within(folder, file), MOST_BYTES.picture);
  if (bytes.length < 4 || bytes.readUInt32BE(0) !== 0x89504e47) throw new Refusal(404, 'that is no PNG file');
  return bytes;
}

/** A file of a run, which is in it in truth: not by a link that leads elsewhere. @throws Refusal if it is not */
async function within(folder: string, file: string): Promise<string> {
  const [root, path] = await Promise.all([realpath(folder), realpath(join(folder, file))]).catch(() => {
    throw new Refusal(404, 'there is no such picture');
  });
  if (!path.startsWith(root + sep)) throw new Refusal(404, 'there is no such picture');
  return path;
}
