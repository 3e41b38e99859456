/** @file The settings of a run as its `config.yaml` has them, by any version: a tree, looked at without a schema. */
import { join } from 'node:path';
import { z } from 'zod';
import { FormatError } from '../formats/errors.js';
import { problemOf } from '../formats/plain-issues.js';
import { MOST_BYTES, readText } from '../formats/whole-file.js';
import { parseYaml } from '../formats/yaml.js';

/** What a run is listed by. */
const schema = z.looseObject({
  method: z.looseObject({ name: z.string() }),
  model: z.string(),
  rewards: z.array(z.string()),
  steps: z.number(),
  seed: z.number(),
  /** The command that goes on with it, where that is not `attune train --resume`. */
  again: z.string().optional(),
});

export type Settings = Readonly<z.infer<typeof schema>>;

/** @throws FormatError if it is missing, or not that of a run */
export async function readSettings(folder: string): Promise<Settings> {
  const path = join(folder, 'config.yaml');
  const value = parseYaml(await readText(path, MOST_BYTES.settings), path);
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const problem = problemOf(parsed.error, value);
  throw new FormatError(path, `is not that of a run: ${problem.path || 'all of it'} ${problem.text}`, 'Check that the folder is a run.');
}

const isTree = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

/** The values of a tree by their dotted names; a list is a value. */
export function leaves(value: unknown, path = ''): [path: string, value: unknown][] {
  if (!isTree(value)) return [[path, value]];
  return Object.entries(value).flatMap(([k, v]) => leaves(v, path ? `${path}.${k}` : k));
}
