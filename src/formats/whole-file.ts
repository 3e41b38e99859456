/** @file Whole files in memory: regular ones alone, and none longer than one of its kind can be. */
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
  try {
    if (source.size > most) {
      throw new FormatError(path, `is ${source.size} bytes long, and ${most} are the most that are read of such a file`,
        'Check that the path is right.');
    }
    return await readBytes(source, 0, source.size);
  } finally {
    await source.close();
  }
}

/** Lines of a list of prompts, pairs or pictures. Half a million take two seconds. */
const MOST_LINES = 500_000;

/** Characters of a prompt or caption: thirty times what the text encoders see. */
export const MOST_PROMPT = 10_000;

/** The text of a list with something on each line. @throws FormatError as `readWhole`, and for more lines than lists have */
export async function readList(path: string): Promise<string> {
  const bytes = await readWhole(path, MOST_BYTES.list);
  let lines = 0;
  for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, at + 1)) lines++;
  if (lines <= MOST_LINES) return bytes.toString('utf8');
  throw new FormatError(path, `has ${lines} lines, and ${MOST_LINES} are the most that are read`, 'Split it.');
}

/** The content of a text file in UTF-8; errors as `readWhole`. */
export async function readText(path: string, most: number): Promise<string> {
  return (await readWhole(path, most)).toString('utf8');
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
