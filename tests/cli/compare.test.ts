import { access, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { parseEntry, runArguments } from '../../src/cli/compare.js';
import type { Results } from '../../src/comparison/results.js';
import { attune } from '../cli-process.js';

const root = await mkdtemp(join(tmpdir(), 'attune-compare-'));
afterAll(() => rm(root, { recursive: true, force: true }));

const out = join(root, 'two');
const settings = [
  'threads=1', 'batch=2', 'samplingSteps=2', 'guidance=2', 'rewards=[emoji-clip]',
  'evaluation.prompts=2', 'evaluation.images=2', 'evaluation.times=1', 'evaluation.sweep=[1]', 'evaluation.final.prompts=2',
];
const ARGS = [
  'compare', '--entry', 'draft-lv', '--entry', 'late=refl?method.window=0.5&lr=1e-3', '--seeds', '3',
  '--budget', 'updates=2', '--best-of', '2', '--out', out, '--json', ...settings.flatMap((s) => ['--set', s]),
];
const rows = async (entry: string): Promise<Record<string, number>[]> =>
  (await readFile(join(out, 'runs', entry, 'seed-3', 'metrics.jsonl'), 'utf8')).trim().split('\n')
    .map((line) => JSON.parse(line) as Record<string, number>);

describe('attune compare', { timeout: 300_000 }, () => {
  test('an entry is a method with settings, and may have a name', () => {
    expect(parseEntry('refl')).toEqual(['refl', { method: { name: 'refl' } }]);
    expect(parseEntry('a=draft?method.k=all&lr=1e-3&lora.rank=2'))
      .toEqual(['a', { method: { name: 'draft', k: 'all' }, lr: 1e-3, lora: { rank: 2 } }]);
    expect(() => parseEntry('=draft')).toThrow(/\[NAME=\]METHOD/);
  });

  test('--force reaches the runs that go on, of every kind, and no new one', () => {
    const of = (name: 'train' | 'base', resume: boolean, force: boolean): string => runArguments({ kind: { name } }, 'a/b', { resume, force }).join(' ');
    expect(of('train', true, true)).toBe('train --resume a/b --force');
    expect(of('train', true, false)).toBe('train --resume a/b');
    expect(of('train', false, true)).toBe('train --config a/b.yaml --out a/b');
    expect(of('base', true, true)).toBe('compare baseline --config a/b.yaml --out a/b --n 1 --force');
  });

  test('starts two methods from the identical base model; runs nothing twice, and no other settings', async () => {
    const first = await attune(ARGS).finished;
    expect(first.stderr).not.toMatch(/warning|attune:/);
    expect(first.code).toBe(0);
    const results = JSON.parse(first.stdout) as Results;
    expect(results.entries.map((e) => e.name)).toEqual(['base', 'best-of-2', 'draft-lv', 'late']);

    // One method samples with noise in training, the other without; neither has a say in the evaluation.
    const measures = ['evalReward', 'heldOutReward', 'diversity'] as const;
    const [base] = await rows('draft-lv');
    for (const other of ['late', 'base']) {
      const [row] = await rows(other);
      // The base entry samples without a LoRA in its graph: the same but for rounding.
      for (const m of measures) {
        if (other === 'base') expect(row![m], `${m} of ${other}`).toBeCloseTo(base![m]!, 5);
        else expect(row![m], `${m} of ${other}`).toBe(base![m]);
      }
    }
    expect(base).toMatchObject({ step: 0, rewardQueries: 0, denoiserCalls: 0, seconds: 0 });
    // Two updates of batch 2: the samples and their two copies; and ReFL's one prediction. Guidance counts twice.
    expect((await rows('draft-lv')).at(-1)).toMatchObject({ step: 2, rewardQueries: 12 });
    expect((await rows('late')).at(-1)).toMatchObject({ step: 2, rewardQueries: 4, lr: 1e-3 });
    expect((await rows('best-of-2'))[0]).toMatchObject({ rewardQueries: 8, denoiserCalls: 32 });
    expect((await rows('best-of-2'))[0]!['evalReward']).toBeGreaterThan(base!['evalReward']!);
    const peak = results.entries[2]!.last.peakBytes!.mean;
    expect(peak).toBeGreaterThan(50 * 2 ** 20);
    const files = ['report.html', 'results.md', 'figures/pictures.png', 'figures/front-diversity.svg'];
    for (const file of files) await access(join(out, file));

    const written = (await stat(join(out, 'runs/late/seed-3/summary.json'))).mtimeMs;
    const again = await attune(ARGS).finished;
    expect(again.code).toBe(0);
    expect(again.stderr).not.toMatch(/starting|resuming/);
    expect((JSON.parse(again.stdout) as Results).entries).toEqual(results.entries);
    expect((await stat(join(out, 'runs/late/seed-3/summary.json'))).mtimeMs).toBe(written);

    const changed = await attune([...ARGS, '--set', 'guidance=3']).finished;
    expect(changed).toMatchObject({ code: 2, stdout: '' });
    expect(changed.stderr).toMatch(/base\/seed-3 holds a run of another configuration: guidance was 2 and is now 3/);
  });

  test('mistakes are told before anything runs', async () => {
    const { code, stderr } = await attune(['compare', '--entry', 'draft-lw', '--out', join(root, 'none')]).finished;
    expect(code).toBe(2);
    expect(stderr).toMatch(/entries\.draft-lw: there is no method "draft-lw".*draft-lv/);
    await expect(access(join(root, 'none'))).rejects.toThrow();
  });
});
