/** @file Whole files in memory: regular ones alone, and none longer than one of its kind can be. */
import { deferred } from '../host/resources.js';
import { fileSource, readBytes } from './byte-source.js';
import { FormatError } from './errors.js';

/** The most bytes that a file of a kind may have: far more than those in use, far less than the memory. */
export const MOST_BYTES = {
  /** A configuration or recipe: a few thousand in use. */
  settings: 2 ** 18,
  /** A caption, lock, reference or log of a process. */
  note: 2 ** 20,
  /** A JSON file of a model, tokenizer or run. */
  json: 2 ** 25,
  /** A list of prompts or pairs. */
  list: 2 ** 26,
  /** A log with a line for each step or picture: half a million of them. */
  log: 2 ** 28,
  picture: 2 ** 28,
} as const;

/**
 * The content of a file.
 *
 * @throws FormatError if it is missing, unreadable, a folder, pipe or device, or longer than `most`
 */
export async function readWhole(path: string, most: number): Promise<Buffer> {
  const source = await fileSource(path);
  await using _ = deferred(() => source.close());
  if (source.size > most) {
    throw new FormatError(path, `is ${source.size} bytes long, and ${most} are the most that are read of such a file`,
      'Check that the path is right.');
  }
  return await readBytes(source, 0, source.size);
}

/** Characters of a prompt or caption: thirty times what the text encoders see. */
export const MOST_PROMPT = 10_000;

/** The content of a text file, without a byte-order mark: UTF-8, or UTF-16 that begins with one. Errors as `readWhole`. */
export async function readText(path: string, most: number): Promise<string> {
  const bytes = await readWhole(path, most);
  return new TextDecoder(encodingOf(bytes, path)).decode(bytes);
}

export const SAVE_AS_UTF8 = 'Save it as UTF-8 (of Windows\' own encoding: iconv -f WINDOWS-1252 -t UTF-8).';

/** What a text's byte-order mark says; UTF-8 where there is none. @throws FormatError for UTF-32 */
export function encodingOf(bytes: Uint8Array, where: string): 'utf-8' | 'utf-16le' | 'utf-16be' {
  const mark = Buffer.from(bytes.subarray(0, 4)).toString('hex');
  if (mark === 'fffe0000' || mark === '0000feff') throw new FormatError(where, 'is encoded as UTF-32', SAVE_AS_UTF8);
  if (mark.startsWith('fffe')) return 'utf-16le';
  return mark.startsWith('feff') ? 'utf-16be' : 'utf-8';
}

/** As `readText`, but null where there is no such file: one that cannot be read is an error all the same. */
export async function readTextIfThere(path: string, most: number): Promise<string | null> {
  try {
    return await readText(path, most);
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

/** Whether it was a file's absence that failed. */
export function isMissing(error: unknown): boolean {
  const { code } = ((error as Error | null)?.cause ?? {}) as NodeJS.ErrnoException;
  return code === 'ENOENT' || code === 'ENOTDIR';
}
