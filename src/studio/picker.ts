/** @file Files to choose from on the server's disk: below declared roots alone, in truth and not by links that lead out. */
import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, extname, join, resolve, sep } from 'node:path';
import type { Listing } from './messages.js';
import { Refusal } from './reply.js';

/** Endings of files by what they are chosen for. */
const KINDS = {
  model: ['.safetensors', '.ckpt'],
  prompts: ['.txt', '.csv', '.tsv', '.json', '.jsonl'],
  reward: ['.onnx', '.safetensors', '.pt', '.pth', '.bin'],
  pairs: ['.csv', '.tsv', '.json', '.jsonl'],
} as const;

export type FileKind = keyof typeof KINDS;

export const isFileKind = (text: string): text is FileKind => Object.hasOwn(KINDS, text);

/** Entries of a folder that are looked at. */
const MOST = 1000;

/**
 * A folder below a root: its folders, and its files of the kind. What begins with a dot is left out.
 *
 * @param path names between slashes, below the root
 * @throws Refusal if there is no such folder, or it lies outside
 */
export async function listFolder(roots: readonly string[], root: number, path: string, kind: FileKind): Promise<Listing> {
  const top = roots[root];
  const names = path.split('/').filter((name) => name !== '');
  if (top === undefined || names.some((name) => name.startsWith('.') || /[\\\0:]/.test(name))) throw new Refusal(404, 'there is no such folder');
  const [from, folder] = await Promise.all([realpath(resolve(top)), realpath(resolve(top, ...names))]).catch(() => {
    throw new Refusal(404, 'there is no such folder');
  });
  if (folder !== from && !folder.startsWith(from.endsWith(sep) ? from : from + sep)) throw new Refusal(404, 'there is no such folder');
  const found = await readdir(folder).catch(() => {
    throw new Refusal(404, 'there is no such folder');
  });
  const visible = found.filter((name) => !name.startsWith('.') && name !== 'node_modules').toSorted().slice(0, MOST);
  const entries = await Promise.all(visible.map(async (name): Promise<Listing['entries'][number] | null> => {
    const at = join(folder, name);
    const real = await realpath(at).catch(() => null);
    const facts = real?.startsWith(from.endsWith(sep) ? from : from + sep) ? await stat(real).catch(() => null) : null;
    if (!facts) return null;
    if (facts.isDirectory()) return { name, folder: true, bytes: null, path: at, choosable: kind === 'model' && await isModel(at) };
    const fits = (KINDS[kind] as readonly string[]).includes(extname(name).toLowerCase());
    return facts.isFile() && fits ? { name, folder: false, bytes: facts.size, path: at, choosable: true } : null;
  }));
  return {
    roots: roots.map((r) => basename(resolve(r)) || resolve(r)), root, path: names.join('/'),
    entries: entries.filter((e) => e !== null).toSorted((a, b) => Number(b.folder) - Number(a.folder)),
  };
}

/** In diffusers layout. */
const isModel = (folder: string): Promise<boolean> => stat(join(folder, 'model_index.json')).then((s) => s.isFile(), () => false);
