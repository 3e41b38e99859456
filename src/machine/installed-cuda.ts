/** @file Which versions of CUDA lie in the folders where installers put them. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';

/** Where CUDA's installers put things on Linux. */
const FOLDERS = ['/usr/local', '/usr/lib/x86_64-linux-gnu', '/usr/lib64', ...(process.env['LD_LIBRARY_PATH'] ?? '').split(':').filter(Boolean)];

/** Major versions of CUDA whose libraries are in these folders, or that have a folder there (cuda-13.0). */
export function installedCuda(folders: readonly string[] = FOLDERS): number[] {
  const found = new Set<number>();
  for (const folder of folders) {
    let names: string[];
    try {
      names = readdirSync(folder);
    } catch {
      continue;
    }
    for (const name of names) {
      const version = /^cuda-(\d+)/.exec(name)?.[1] ?? /^libcublas(?:Lt)?\.so\.(\d+)/.exec(name)?.[1];
      if (version) found.add(Number(version));
      if (name === 'lib64' || name === 'targets') for (const inner of installedCuda([join(folder, name)])) found.add(inner);
    }
  }
  return [...found].sort((a, b) => a - b);
}
