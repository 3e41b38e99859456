/** @file Prompt sets: bundled lists, and text, CSV or JSONL files with weights. */
import { readdir } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { csvRows } from '../formats/csv.js';
import { parseJson } from '../formats/json.js';
import { isMissing, MOST_PROMPT, readList } from '../formats/whole-file.js';
import { bundledFolder } from '../models/load.js';
import { uniform } from '../random/random.js';
import { suggestion } from '../rewards/nearest.js';
import { ConfigError } from './config.js';

export interface PromptSet {
  readonly name: string;
  readonly prompts: readonly string[];
  /** How often each is drawn, relative to the others. */
  readonly weights: readonly number[];
}

const listFolder = (): string => join(bundledFolder('emoji'), 'prompts');

/** Names of the bundled lists. */
export async function bundledPrompts(): Promise<string[]> {
  return (await readdir(listFolder())).filter((f) => f.endsWith('.txt')).map((f) => f.slice(0, -4)).toSorted();
}

type Entry = readonly [prompt: string, weight: number];

const readers: Readonly<Record<string, (text: string, path: string) => Entry[]>> = {
  '.txt': (text) => text.split('\n').map((s) => s.trim()).filter((s) => s !== '' && !s.startsWith('#')).map((s) => [s, 1]),
  '.csv': readCsv,
  '.jsonl': (text, path) => text.split('\n').flatMap((line, i): Entry[] => {
    if (line.trim() === '') return [];
    const where = `${path}:${i + 1}`;
    let value: unknown;
    try {
      value = parseJson(line, where);
    } catch {
      throw new ConfigError(`${where}: not JSON. Each line is {"prompt": "…", "weight": 1} or "…"`);
    }
    if (typeof value === 'string') return [[value, 1]];
    const { prompt, weight = 1 } = (value ?? {}) as { prompt?: unknown; weight?: unknown };
    if (typeof prompt !== 'string') throw new ConfigError(`${where}: has no text "prompt"`);
    return [[prompt, weightOf(weight, where)]];
  }),
};

function weightOf(value: unknown, where: string): number {
  const weight = Number(value);
  if (!Number.isFinite(weight) || weight < 0) throw new ConfigError(`${where}: weight "${String(value)}" is not a number of at least 0`);
  return weight;
}

/** RFC 4180 with a header that names `prompt` and, if wanted, `weight`; without a header the first column is the prompt. */
function readCsv(text: string, path: string): Entry[] {
  const rows = csvRows(text).filter((row) => row.some((cell) => cell.trim() !== ''));
  const header = rows[0]?.map((cell) => cell.trim().toLowerCase()) ?? [];
  const column = header.indexOf('prompt');
  const weights = header.indexOf('weight');
  return (column < 0 ? rows : rows.slice(1)).map((row, i) => {
    const prompt = (row[Math.max(column, 0)] ?? '').trim();
    return [prompt, column < 0 || weights < 0 ? 1 : weightOf(row[weights] ?? 1, `${path}, row ${i + 2}`)];
  });
}

/**
 * A bundled list by name, or a file by path.
 *
 * @throws ConfigError if there is no such list or file, or it holds no prompt
 */
export async function loadPrompts(name: string): Promise<PromptSet> {
  const bundled = await bundledPrompts();
  const path = bundled.includes(name) ? join(listFolder(), `${name}.txt`) : name;
  const text = await readList(path).catch((cause: unknown) => {
    if (isMissing(cause)) throw new ConfigError(`there is no prompt list or file "${name}". ${suggestion(name, bundled)}`);
    throw cause;
  });
  const reader = readers[extname(path).toLowerCase()] ?? readers['.txt']!;
  const entries = reader(text, path).filter(([, weight]) => weight > 0);
  const long = entries.find(([prompt]) => prompt.length > MOST_PROMPT);
  if (long) throw new ConfigError(`${path} holds a prompt of ${long[0].length} characters, and ${MOST_PROMPT} are the most`);
  if (entries.length === 0) throw new ConfigError(`${path} holds no prompt`);
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
