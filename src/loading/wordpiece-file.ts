/** @file Reads the vocabulary of a WordPiece tokenizer. */
import { fileSource, readBytes } from '../formats/byte-source.js';
import { FormatError } from '../formats/errors.js';
import { deferred } from '../host/resources.js';
import { createWordPiece } from '../models/wordpiece.js';
import type { WordPiece } from '../models/wordpiece.js';

/** bert-base-uncased's vocab.txt has a quarter of a megabyte. */
const MAX_FILE_BYTES = 1 << 24;

/**
 * Reads a vocab.txt: a token a line, its id the line's number.
 *
 * @throws FormatError naming the file, if it cannot be read or lacks a special token
 */
export async function loadWordPiece(
  path: string, length: number, added: readonly string[] = [],
): Promise<WordPiece> {
  const source = await fileSource(path);
  await using _ = deferred(() => source.close());
  try {
    const { size } = source;
    if (size > MAX_FILE_BYTES) throw new FormatError(path, `is too long (${size} bytes)`, 'Check the path.');
    const lines = (await readBytes(source, 0, size)).toString('utf8').split(/\r?\n/);
    if (lines.at(-1) === '') lines.pop();
    return createWordPiece(lines, length, added);
  } catch (cause) {
    if (cause instanceof FormatError) throw cause;
    throw new FormatError(path, `is no vocabulary of BERT: ${(cause as Error).message}`,
      'Give the vocab.txt of bert-base-uncased.', { cause });
  }
}
