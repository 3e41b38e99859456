/** @file The files of the page, built by tools/build-studio.mjs: a few, read once. */
import { readdir, readFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { FormatError } from '../formats/errors.js';
import { packageRoot } from '../formats/package-root.js';

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml',
};

export interface PageFile {
  readonly type: string;
  readonly bytes: Buffer;
}

/** By their addresses. @throws FormatError if the page was not built */
export async function pageFiles(): Promise<ReadonlyMap<string, PageFile>> {
  const folder = join(packageRoot, 'dist', 'studio-page');
  const names = (await readdir(folder).catch(() => [])).filter((name) => TYPES[extname(name)]);
  if (!names.includes('index.html')) throw new FormatError(folder, 'holds no page', 'Build it with npm run build, or install the package again.');
  const files = await Promise.all(names.map(async (name) =>
    [name === 'index.html' ? '/' : `/${name}`, { type: TYPES[extname(name)]!, bytes: await readFile(join(folder, name)) }] as const));
  return new Map(files);
}
