/**
 * @file Models of the Hugging Face hub, `org/name[@revision]`, through the standard cache that Python uses too
 * (`models--org--name/{blobs,refs,snapshots}`): what lies there is not downloaded again.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { copyFile, mkdir, readdir, realpath, symlink } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { exists } from '../formats/exists.js';
import type { ListFileEntry } from '@huggingface/hub';
import { writeAtomic } from '../formats/atomic.js';
import { FormatError, shown } from '../formats/errors.js';
import { withoutSecrets } from '../formats/url-secrets.js';
import { MOST_BYTES, readText } from '../formats/whole-file.js';
import { families } from '../models/families/registry.js';
import { hubCache, hubEndpoint, hubToken, isOffline } from './hub-environment.js';
import { hubFetch } from './hub-fetch.js';

/** `org/name`, and perhaps a branch, tag or commit. */
export const HUB_ID = /^[\w-][\w.-]*\/[\w-][\w.-]*(?:@\w[\w.-]*(?:\/\w[\w.-]*)*)?$/;

/** What of a repository's files is wanted; null if they are not complete. */
export type Choice = (files: readonly string[]) => string[] | null;

export interface FetchOptions {
  /** Called with the bytes to come before the first of them; not called if nothing needs to be downloaded. */
  begin?: ((total: number) => void) | undefined;
  /** SHA-256 that files must have, by path: whatever hub or cache they come from. */
  sha256?: Readonly<Record<string, string>> | undefined;
  /** Bytes downloaded so far and in all; not called if nothing needs to be downloaded. */
  bytes?: ((done: number, total: number) => void) | undefined;
}

/** Fetches a pipeline's components, tokenizers and configurations. @returns the folder of the snapshot */
export function fetchSnapshot(repository: string, options: FetchOptions & { variant?: string } = {}): Promise<string> {
  return fetchChosen(repository, (files) => pipelineFiles(files, options.variant), options);
}

/** Fetches these files. @returns the folder of the snapshot */
export function fetchFiles(repository: string, wanted: readonly string[], options: FetchOptions = {}): Promise<string> {
  return fetchChosen(repository, (files) => (wanted.every((f) => files.includes(f)) ? [...wanted] : null), options);
}

/** Fetches a CLIP model of transformers with its tokenizer. @returns the folder of the snapshot */
export function fetchClip(repository: string, options: FetchOptions = {}): Promise<string> {
  return fetchChosen(repository, clipFiles, options);
}

/** Fetches what says how a pipeline is built: all but its weights. @returns the folder of the snapshot */
export function fetchConfigs(repository: string): Promise<string> {
  return fetchChosen(repository, configFiles, {});
}

/** Fetches a VAE that is a repository of its own, or that of a pipeline. @returns the folder with its `config.json` */
export async function fetchVae(repository: string, options: FetchOptions = {}): Promise<string> {
  const folder = await fetchChosen(repository, vaeFiles, options);
  return (await exists(join(folder, 'vae', 'config.json'))) ? join(folder, 'vae') : folder;
}

/** The parts of any family, and sets of parts of which one must be there. */
function knownParts(): { all: string[]; needed: string[][] } {
  const needed = families().map(({ denoiser, folder }) => [denoiser.part, 'vae', ...folder.textEncoders.map(({ name }) => name)]);
  return { all: [...new Set(needed.flat())], needed };
}

const INDEX = ['model_index.json', 'scheduler/scheduler_config.json'];
const TOKENIZER = /^tokenizer(_\d)?\/(merges\.txt|(vocab|tokenizer|tokenizer_config|special_tokens_map|added_tokens)\.json)$/;

/** The files of a pipeline in diffusers layout, of each component one variant of its weights. */
export function pipelineFiles(files: readonly string[], variant?: string): string[] | null {
  const chosen = files.filter((f) => INDEX.includes(f) || TOKENIZER.test(f));
  const { all, needed } = knownParts();
  const parts = all.filter((part) => files.some((f) => f.startsWith(`${part}/`)));
  for (const part of parts) {
    const inside = files.filter((f) => f.startsWith(`${part}/`) && f.split('/').length === 2);
    const weights = anyWeights(inside, variant);
    if (!weights || !inside.includes(`${part}/config.json`)) return null;
    chosen.push(`${part}/config.json`, ...weights);
  }
  const complete = INDEX.every((f) => chosen.includes(f)) && chosen.some((f) => f.startsWith('tokenizer/')) &&
    needed.some((own) => own.every((part) => parts.includes(part)));
  return complete ? chosen : null;
}

function configFiles(files: readonly string[]): string[] | null {
  const { all, needed } = knownParts();
  const config = (part: string): string => `${part}/config.json`;
  const parts = all.map(config);
  const chosen = files.filter((f) => INDEX.includes(f) || TOKENIZER.test(f) || parts.includes(f));
  const complete = INDEX.every((f) => chosen.includes(f)) && needed.some((own) => own.every((part) => chosen.includes(config(part))));
  return complete && chosen.some((f) => f.startsWith('tokenizer/')) ? chosen : null;
}

function clipFiles(files: readonly string[]): string[] | null {
  const words = files.filter((f) => /^(merges\.txt|(vocab|tokenizer|tokenizer_config|special_tokens_map|added_tokens)\.json)$/.test(f));
  const weights = anyWeights(files.filter((f) => !f.includes('/')));
  const complete = files.includes('config.json') && (words.includes('tokenizer.json') || (words.includes('vocab.json') && words.includes('merges.txt')));
  return weights && complete ? ['config.json', ...weights, ...words] : null;
}

function vaeFiles(files: readonly string[]): string[] | null {
  for (const prefix of ['vae/', '']) {
    const inside = files.filter((f) => f.startsWith(prefix) && !f.slice(prefix.length).includes('/'));
    const weights = anyWeights(inside);
    if (weights && inside.includes(`${prefix}config.json`)) return [`${prefix}config.json`, ...weights];
  }
  return null;
}

/** The weights of a component of the preferred format and variant. */
function anyWeights(inside: readonly string[], variant?: string): string[] | undefined {
  const variants = variant === undefined ? ['', 'fp16', 'bf16'] : [variant];
  // PyTorch files, of before safetensors, only where there are no others.
  return ['safetensors', 'bin'].flatMap((ending) => variants.map((v) => weightFiles(inside, v, ending)))
    .find((w) => w.length > 0);
}

/** One file, or an index with its shards, all of one variant. */
function weightFiles(inside: readonly string[], variant: string, ending: string): string[] {
  const infix = variant && `\\.${variant}`;
  const base = ending === 'bin' ? '(diffusion_)?pytorch_model' : '(diffusion_pytorch_model|model)';
  const matching = (pattern: string): string[] => inside.filter((f) => new RegExp(`(^|/)${pattern}$`).test(f));
  const single = matching(`${base}${infix}\\.${ending}`);
  if (single.length > 0) return single;
  const index = matching(`${base}\\.${ending}\\.index${infix}\\.json`);
  const shards = matching(`${base}(${infix}-\\d{5}-of-\\d{5}|-\\d{5}-of-\\d{5}${infix})\\.${ending}`);
  return index.length > 0 && shards.length > 0 ? [...index, ...shards] : [];
}

async function fetchChosen(given: string, choose: Choice, { begin, bytes, sha256 = {} }: FetchOptions): Promise<string> {
  if (!HUB_ID.test(given)) throw new FormatError(given, 'is no hub id (org/name, org/name@revision)', 'Check the name.');
  const [repository, revision = 'main'] = given.split('@', 2) as [string, string?];
  const storage = join(hubCache(), `models--${repository.replace('/', '--')}`);
  const cached = await cachedSnapshot(storage, revision);
  if (cached && choose(await filesBelow(cached))) {
    await checkPinned(cached, sha256);
    return cached;
  }
  if (isOffline()) {
    throw new FormatError(given, `is not completely in the cache ${storage}, and HF_HUB_OFFLINE is set`,
      'Unset HF_HUB_OFFLINE to download it, or give the path of a folder.');
  }
  const hubUrl = hubEndpoint();
  // The library itself gets no token: it would send it to any address that an answer names.
  const access = { hubUrl, fetch: await hubFetch(hubUrl, await hubToken()) };
  const hub = await import('@huggingface/hub'); // slow to load and seldom needed
  try {
    const { sha } = await hub.modelInfo({ name: repository, revision, additionalFields: ['sha'], ...access });
    const commit = hexName(sha, given);
    const entries = new Map<string, ListFileEntry>();
    for await (const entry of hub.listFiles({ repo: repository, revision: commit, recursive: true, ...access })) {
      if (entry.type === 'file') entries.set(entry.path, entry);
    }
    const chosen = choose([...entries.keys()]);
    if (!chosen) {
      throw new FormatError(given, 'does not hold what is needed in the layout of diffusers and transformers',
        'Choose another repository, or convert this one.');
    }
    const snapshot = join(storage, 'snapshots', commit);
    const missing: ListFileEntry[] = [];
    for (const path of chosen) if (!(await exists(join(snapshot, path)))) missing.push(entries.get(path)!);
    // Before gigabytes are downloaded for nothing.
    for (const { path, lfs } of missing) if (lfs && sha256[path] !== undefined && lfs.oid !== sha256[path]) throw notPinned(`${given}/${path}`, lfs.oid, sha256[path]);
    const total = missing.reduce((sum, entry) => sum + entry.size, 0);
    let done = 0;
    if (missing.length > 0) begin?.(total);
    for (const entry of missing) {
      const blob = join(storage, 'blobs', hexName(entry.lfs?.oid ?? entry.oid ?? '', repository));
      if (!(await exists(blob))) {
        const content = await hub.downloadFile({ repo: repository, path: entry.path, revision: commit, ...access });
        if (!content) throw new FormatError(`${repository}/${entry.path}`, 'cannot be downloaded', 'Try again later.');
        await store(blob, content, entry, (n) => bytes?.(done + n, total));
      }
      done += entry.size;
      await link(blob, join(snapshot, entry.path));
    }
    await checkPinned(snapshot, sha256);
    if (revision !== commit) await writeAtomic(join(storage, 'refs', revision), commit);
    return snapshot;
  } catch (error) {
    throw explained(error, given);
  }
}

/** @throws FormatError for a file that is another than it must be. A blob is named by its digest, which was checked when it came. */
async function checkPinned(snapshot: string, sha256: Readonly<Record<string, string>>): Promise<void> {
  for (const [path, due] of Object.entries(sha256)) {
    const file = await realpath(join(snapshot, path));
    const named = /^[0-9a-f]{64}$/.test(basename(file)) ? basename(file) : await digestOf(file);
    if (named !== due) throw notPinned(join(snapshot, path), named, due);
  }
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Uint8Array);
  return hash.digest('hex');
}

const notPinned = (where: string, given: string, due: string): FormatError =>
  new FormatError(where, `is not the published file: its SHA-256 is ${given}, not ${due}`, 'Check HF_ENDPOINT and who filled the cache.');

/** The snapshot that a revision stood for when it was last fetched; a commit stands for itself. */
async function cachedSnapshot(storage: string, revision: string): Promise<string | null> {
  const commit = COMMIT.test(revision) ? revision
    : (await readText(join(storage, 'refs', revision), MOST_BYTES.note).catch(() => '')).trim();
  const folder = join(storage, 'snapshots', commit);
  return COMMIT.test(commit) && (await exists(folder)) ? folder : null;
}

const COMMIT = /^[0-9a-f]{40}$/;

/**
 * The snapshot of a model's folder in a cache, or of the `snapshots` in it: that of `main`, or the only one. Other
 * paths are returned as they are.
 *
 * @throws FormatError for a choice of snapshots
 */
export async function insideCache(path: string): Promise<string> {
  const given = resolve(path);
  const storage = basename(given) === 'snapshots' ? dirname(given) : given;
  const snapshots = await readdir(join(storage, 'snapshots')).catch(() => []);
  const commits = snapshots.filter((name) => COMMIT.test(name));
  if (commits.length === 0) return path;
  const main = await cachedSnapshot(storage, 'main');
  if (main) return main;
  if (commits.length === 1) return join(storage, 'snapshots', commits[0]!);
  throw new FormatError(path, `holds ${commits.length} snapshots and no refs/main`, `Name one: ${join(storage, 'snapshots', commits[0]!)}.`);
}

/** Files that are really there (a link into `blobs` may be broken), two levels deep, as paths with "/". */
async function filesBelow(folder: string): Promise<string[]> {
  const files: string[] = [];
  for (const name of await readdir(folder)) {
    const inside = await readdir(join(folder, name)).catch(() => null);
    const paths = inside ? inside.map((file) => `${name}/${file}`) : [name];
    for (const path of paths) if (await exists(join(folder, path))) files.push(path);
  }
  return files;
}

/** A hash from the hub, which becomes a file name. */
function hexName(value: string, repository: string): string {
  if (/^[0-9a-f]{40}([0-9a-f]{24})?$/.test(value)) return value;
  throw new FormatError(repository, `the hub gives "${shown(value)}" for a hash`, 'Check HF_ENDPOINT.');
}

/** Downloads into `blobs`; the file appears there only when its size and (large files) its SHA-256 are right. */
async function store(path: string, content: Blob, entry: ListFileEntry, onBytes: (n: number) => void): Promise<void> {
  await writeAtomic(path, async (sink) => {
    const hash = createHash('sha256');
    let size = 0;
    for await (const chunk of content.stream() as unknown as AsyncIterable<Uint8Array>) {
      size += chunk.length;
      if (size > entry.size) throw new FormatError(entry.path, `is longer than the ${entry.size} bytes that the hub announces`, 'Try again later.');
      hash.update(chunk);
      await sink(chunk);
      onBytes(size);
    }
    if (size !== entry.size || (entry.lfs && hash.digest('hex') !== entry.lfs.oid)) {
      throw new FormatError(entry.path, `arrived damaged (${size} of ${entry.size} bytes)`,
        'Start again; what is complete is kept.');
    }
  });
}

/** A relative link, as Python makes it; a copy where the system has none. */
async function link(blob: string, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await symlink(relative(dirname(path), blob), path).catch(async (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') await copyFile(blob, path);
  });
}

/** The error with what the user can do about it. */
function explained(error: unknown, repository: string): unknown {
  if (error instanceof FormatError || !(error instanceof Error)) return error;
  const { statusCode: status } = error as { statusCode?: number };
  const remedies: Record<number, string> = {
    401: 'It does not exist, or needs a token: "hf auth login", or set HF_TOKEN.',
    403: 'Accept its licence on the hub with the account of your token.',
    404: 'Check the name and the revision.',
  };
  const remedy = status === undefined
    ? 'Check the network, HTTPS_PROXY and HF_ENDPOINT, or give the path of a folder.'
    : (remedies[status] ?? 'Try again later.');
  const problem = `cannot be fetched from the hub (${shown(withoutSecrets(error.message))})`;
  return new FormatError(repository, problem, remedy, { cause: error });
}
