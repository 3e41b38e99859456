/** @file Runs that hack their reward, to validate the default guard on: bundled model, every few updates an evaluation, nothing stops them. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface JudgedRun {
  readonly name: string;
  /** Flags of `attune train` beside those that all have. */
  readonly flags: readonly string[];
}

const hack = (reward: string, method: string, seed: number, ...settings: string[]): JudgedRun => ({
  name: `${reward}-${method}`,
  flags: ['--reward', reward, '--method', method, ...['batch=4', 'steps=20', `seed=${seed}`, ...settings].flatMap((s) => ['--set', s])],
});

/** In the order in which they are made. */
export const RUNS: readonly JudgedRun[] = [
  hack('style', 'draft-lv', 1, 'steps=24'),
  hack('compressibility', 'drtune', 2),
  hack('symmetry', 'refl', 3),
  hack('compressibility', 'draft-lv', 4),
  { ...hack('style', 'draft', 5, 'method.k=1'), name: 'style-draft-1' },
  hack('symmetry', 'draft-lv', 6),
  hack('style', 'nabla-db', 7, 'steps=24', 'method.beta=1000', 'method.weighting=sigma', 'method.fraction=0.25'),
  hack('style', 'ddpo', 8, 'batch=8', 'steps=160', 'lr=0.003', 'method.timestepFraction=0.5', 'evaluation.every=32', 'checkpointEvery=40'),
];

/** Before the flags of a run, which win. */
const COMMON = [
  '--threads', '1',
  ...['checkpointEvery=4', 'evaluation.every=4', 'evaluation.final.prompts=0', 'evaluation.sweep=[]', 'guard.enabled=false'].flatMap((s) => ['--set', s]),
];

const CLI = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

/** Makes those runs below `root` that are not there yet; what was interrupted goes on. */
export async function makeRuns(root: string): Promise<void> {
  for (const { name, flags } of RUNS) {
    const folder = join(root, name);
    if (existsSync(join(folder, 'summary.json'))) continue;
    const words = existsSync(join(folder, 'config.yaml')) ? ['train', '--resume', folder] : ['train', '--out', folder, ...COMMON, ...flags];
    console.log(`${name}: attune ${words.join(' ')}`);
    const code = await new Promise((done) => void spawn(process.execPath, [CLI, ...words], { stdio: ['ignore', 'inherit', 'inherit'] }).on('close', done));
    if (code !== 0) throw new Error(`${name} ended with ${String(code)}`);
  }
}
