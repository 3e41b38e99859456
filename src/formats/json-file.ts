/** @file Reads a JSON file that must hold an object. */
import { parseObject } from './json.js';
import { MOST_BYTES, readText } from './whole-file.js';

/** @throws FormatError if it is missing, too long, or holds no JSON object */
export async function readJsonFile(path: string): Promise<Record<string, unknown>> {
  return parseObject(await readText(path, MOST_BYTES.json), path);
}
