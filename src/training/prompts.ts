/** @file Prompt sets: bundled lists, and text files, tables or JSON with weights. */
import { readdir, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { ConfigError, shown } from '../formats/errors.js';
import { suggestion } from '../formats/nearest.js';
import { readRecords, RECORD_ENDINGS } from '../formats/records.js';
import type { Listed } from '../formats/records.js';
import { linesOf, readTextFile } from '../formats/text-file.js';
import { MOST_BYTES } from '../formats/whole-file.js';
import { emoji } from '../loading/bundled.js';
import { uniform } from '../random/random.js';

export interface PromptSet {
  readonly name: string;
  readonly prompts: readonly string[];
  /** How often each is drawn, relative to the others. */
  readonly weights: readonly number[];
}

const listFolder = (): string => join(emoji.folder, 'prompts');

/** Names of the bundled lists. */
export async function bundledPrompts(): Promise<string[]> {
  return (await readdir(listFolder())).filter((f) => f.endsWith('.txt')).map((f) => f.slice(0, -4)).toSorted();
}

type Entry = readonly [prompt: string, weight: number];

/** What the prompt may be called, the likelier name first: ours and Parti's, DrawBench's, those of captions. */
const PROMPT_NAMES = ['prompt', 'prompts', 'caption', 'captions', 'text'];

/** A picture's path and nothing else: of lists that name pictures and texts it is the wrong column, or the wrong list. */
const PICTURE = /^\S+\.(?:png|jpe?g|webp|gif|bmp|tiff?|avif)$/i;

/** The prompt of an item of a list, and under which name it is there. @throws ConfigError if it has none */
function promptOf(listed: Listed): [prompt: string, name: string] {
  const { value } = listed;
  const record = typeof value === 'string' ? { prompt: value } : (value ?? {}) as Record<string, unknown>;
  const name = PROMPT_NAMES.find((n) => Object.hasOwn(record, n) && record[n] !== null);
  if (name !== undefined && typeof record[name] === 'string') return [record[name], name];
  throw new ConfigError(`${name === undefined ? listed.where : listed.at(name)}: has no text "prompt". Each item is {"prompt": "…", "weight": 1} or "…"`);
}

/** @param where it stands */
function weightOf(value: unknown, where: () => string): number {
  if (value === undefined || value === null || value === '') return 1;
  const weight = typeof value === 'string' || typeof value === 'number' ? Number(value) : Number.NaN;
  if (!Number.isFinite(weight) || weight < 0) throw new ConfigError(`${where()}: weight "${shown(String(value))}" is not a number of at least 0`);
  return weight;
}

async function readList(path: string): Promise<Entry[]> {
  const records = await readRecords(path, [PROMPT_NAMES]);
  const table = /\.([ct]sv|parquet)$/i.test(path);
  return records.map((listed) => {
    const [prompt, key] = promptOf(listed);
    // An empty cell is a gap in the table, more likely than the wish for no prompt.
    if (table && prompt === '') throw new ConfigError(`${listed.at(key)}: the prompt is empty; fill it in or take the row out`);
    return [prompt, weightOf((listed.value as { weight?: unknown } | null)?.weight, () => listed.at('weight'))];
  });
}

/** A comment is a `#` alone or with a space behind it: `#1 dad mug` is a prompt. */
const COMMENT = /^#+(?:\s|$)/;

/** One prompt a line. @throws ConfigError for a table or JSON under the name of a text */
function readLines(text: string, path: string): Entry[] {
  const lines = linesOf(text).map((line) => line.trim());
  const first = lines.findIndex((line) => line !== '' && !COMMENT.test(line));
  const kind = first < 0 ? null : otherKind(lines[first]!);
  if (kind !== null) {
    throw new ConfigError(`${path}:${first + 1}: "${shown(lines[first]!)}" is no prompt but ${kind}`);
  }
  return lines.filter((line) => line !== '' && !COMMENT.test(line)).map((line) => [line, 1]);
}

function otherKind(line: string): string | null {
  const cells = line.split(/[,;\t]/).map((cell) => cell.trim().replace(/^"(.*)"$/, '$1').toLowerCase());
  const named = cells.some((cell) => PROMPT_NAMES.slice(0, 4).includes(cell));
  if (named && cells.every((cell) => /^\w*$/.test(cell))) {
    return 'the header of a table: call the file .csv or .tsv, or take the line out';
  }
  if (!/^[[{]/.test(line)) return null;
  try {
    return typeof JSON.parse(line) === 'object' ? 'JSON: call the file .jsonl or .json' : null;
  } catch {
    return null;
  }
}

/** What may hold one prompt a line; other endings promise something else. */
const TEXT_ENDINGS = ['', '.txt', '.text', '.prompt', '.prompts', '.md', '.lst', '.list'];

/**
 * A bundled list by name, or a file by path.
 *
 * @throws ConfigError if there is no such list or file, or it holds no prompt; FormatError with the line that cannot be read
 */
export async function loadPrompts(name: string): Promise<PromptSet> {
  const bundled = await bundledPrompts();
  const path = bundled.includes(name) ? join(listFolder(), `${name}.txt`) : name;
  const found = await stat(path).catch(() => null);
  if (!found) throw new ConfigError(`there is no prompt list or file "${shown(name)}". ${suggestion(name, bundled)}`);
  const ending = extname(path).toLowerCase();
  if (![...RECORD_ENDINGS, ...TEXT_ENDINGS].includes(ending)) {
    throw new ConfigError(`${path}: prompts are read from ${['.txt', ...RECORD_ENDINGS].join(', ')}, not from ${ending}`);
  }
  const all = RECORD_ENDINGS.includes(ending) ? await readList(path) : readLines(await readTextFile(path, MOST_BYTES.list), path);
  const entries = all.filter(([, weight]) => weight > 0);
  if (entries.length === 0) throw new ConfigError(`${path} holds no prompt`);
  const picture = entries.find(([prompt]) => PICTURE.test(prompt));
  if (picture) throw new ConfigError(`${path}: "${shown(picture[0])}" is no prompt but a picture's file. Give a list of texts, or take it out`);
  if (!Number.isFinite(entries.reduce((sum, [, weight]) => sum + weight, 0))) throw new ConfigError(`${path}: the weights add up to more than a number can hold`);
  return { name, prompts: entries.map(([p]) => p), weights: entries.map(([, w]) => w) };
}

/** `count` prompts of a round, drawn by weight: a function of (seed, round) alone. */
export function drawPrompts(set: PromptSet, seed: number, round: number, count: number): string[] {
  const total = set.weights.reduce((a, b) => a + b, 0);
  return Array.from(uniform({ seed, stream: 'prompts', step: round }, 0, count), (u) => {
    let rest = u * total;
    const at = set.weights.findIndex((w) => (rest -= w) < 0);
    return set.prompts[at < 0 ? set.prompts.length - 1 : at]!;
  });
}

/** The prompts of the first `rounds` rounds in order, each once; it ends where every prompt of the set has come. */
export function* roundPrompts(set: PromptSet, { seed, batch }: { seed: number; batch: number }, rounds: number): Generator<string> {
  const rest = new Set(set.prompts);
  for (let round = 0; round < rounds && rest.size > 0; round++) {
    for (const prompt of drawPrompts(set, seed, round, batch)) if (rest.delete(prompt)) yield prompt;
  }
}
