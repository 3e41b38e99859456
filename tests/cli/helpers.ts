/** @file Running commands inside the test process. */
import { mkdtempSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { afterAll, vi } from 'vitest';

export const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url));
export const tiny = join(fixtures, 'pipeline_sd1');

/** A folder that is removed after the test file. */
export function scratch(): string {
  const folder = mkdtempSync(join(tmpdir(), 'attune-cli-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Flags of `train`, `plan` and `eval` for a run of the tiny pipeline with one prompt, which is written into the folder. */
export async function smallRun(folder: string): Promise<string[]> {
  const prompts = join(folder, 'prompts.txt');
  await writeFile(prompts, 'a cat\n');
  return [
    '--model', tiny, '--reward', 'symmetry', '--prompts', prompts, '--sampling-steps', '2', '--threads', '1',
    '--set', 'size=64', '--set', 'evaluation.prompts=1', '--set', 'evaluation.images=2',
    '--set', 'evaluation.heldOut=null', '--set', 'evaluation.features=null', '--set', 'evaluation.final.prompts=1', '--set', 'evaluation.final.images=2',
  ];
}

/** The text chunk of a PNG under a keyword, in ASCII. */
export function pngText(png: Buffer, keyword: string): string | undefined {
  for (let at = 8; at < png.length; at += 12 + png.readUInt32BE(at)) {
    const body = png.toString('latin1', at + 8, at + 8 + png.readUInt32BE(at));
    if (png.toString('latin1', at + 4, at + 8) === 'tEXt' && body.startsWith(`${keyword}\0`)) return body.slice(keyword.length + 1);
  }
  return undefined;
}

export interface Output {
  readonly stdout: string;
  readonly stderr: string;
}

/** What `work` writes to stdout and stderr. */
async function captured(work: () => Promise<unknown>): Promise<Output> {
  const text = { stdout: '', stderr: '' };
  const spies = (['stdout', 'stderr'] as const).map((name) =>
    vi.spyOn(process[name], 'write').mockImplementation((chunk) => {
      text[name] += String(chunk);
      return true;
    }));
  try {
    await work();
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
  return text;
}

/** Runs one command with its arguments. Its errors are thrown. */
export const run = (command: Command, ...args: string[]): Promise<Output> =>
  captured(() => command.exitOverride().parseAsync(args, { from: 'user' }));
