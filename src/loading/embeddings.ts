/** @file Reads the embeddings of Textual Inversion that a user names, from files and from the hub. */
import { join } from 'node:path';
import { readEmbedding } from '../formats/embedding-file.js';
import { FormatError } from '../formats/errors.js';
import { exists } from '../formats/exists.js';
import type { EmbeddingUse } from '../models/text-embeddings.js';
import { fetchFiles, HUB_ID } from './hub.js';

/** What diffusers calls the file in a repository. */
const HUB_FILES = ['learned_embeds.safetensors', 'learned_embeds.bin'];

/**
 * Reads embeddings, each given as `FILE[:token]`, the file also by hub id `org/name[@revision]`.
 *
 * @throws FormatError naming the file
 */
export async function readEmbeddings(given: readonly string[]): Promise<EmbeddingUse[]> {
  const uses: EmbeddingUse[] = [];
  for (const text of given) {
    const whole = await exists(text);
    // A colon may be part of the path, and is of C:\x.
    const at = whole ? -1 : text.search(/:[^:/\\]+$/);
    const [path, token] = at <= 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
    const file = await readEmbedding(await found(path));
    uses.push({ ...file, where: path, token: token ?? file.token });
  }
  return uses;
}

async function found(path: string): Promise<string> {
  if (await exists(path)) return path;
  if (!HUB_ID.test(path) || /\.(pt|bin|safetensors)$/.test(path)) throw new FormatError(path, 'does not exist', 'Check the path of the embedding.');
  const [first, second] = HUB_FILES as [string, string];
  const fetched = (file: string): Promise<string> => fetchFiles(path, [file]).then((folder) => join(folder, file));
  return fetched(first).catch((error: unknown) => {
    if (error instanceof FormatError && error.message.includes('does not hold')) return fetched(second);
    throw error;
  });
}
