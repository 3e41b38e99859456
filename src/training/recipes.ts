/** @file The published settings of papers as files of configuration, `models/recipes/papers/NAME.yaml`, by name. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ConfigError, shown } from '../formats/errors.js';
import { suggestion } from '../formats/nearest.js';
import { packageRoot } from '../formats/package-root.js';
import { MOST_BYTES, readText } from '../formats/whole-file.js';

const folder = (): string => join(packageRoot, 'models', 'recipes', 'papers');

export async function recipeNames(): Promise<string[]> {
  return (await readdir(folder())).filter((f) => f.endsWith('.yaml')).map((f) => f.slice(0, -5)).toSorted();
}

/** The file of a recipe. @throws ConfigError with the nearest names if there is none */
export async function recipePath(name: string): Promise<string> {
  const names = await recipeNames();
  if (!names.includes(name)) throw new ConfigError(`there is no recipe "${shown(name)}". ${suggestion(name, names)}`);
  return join(folder(), `${name}.yaml`);
}

/** What it is of, and what it leaves out: the comment at its head. */
export async function recipeAbout(name: string): Promise<string> {
  const lines = (await readText(await recipePath(name), MOST_BYTES.settings)).split('\n');
  const end = lines.findIndex((line) => !line.startsWith('#'));
  return lines.slice(0, end < 0 ? undefined : end).map((line) => line.replace(/^# ?/, '')).join(' ');
}
