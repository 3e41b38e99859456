import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, describe, expect, test } from 'vitest';
import { jobsOf } from '../../src/comparison/config.js';
import { writeComparison } from '../../src/comparison/report.js';
import { gather } from '../../src/comparison/results.js';
import { readRun } from '../../src/comparison/run-record.js';
import { bestNote } from '../../src/comparison/wording.js';
import { comparison, jobOf, writeRun } from './fake-runs.js';

const root = await mkdtemp(join(tmpdir(), 'attune-comparison-'));
afterAll(() => rm(root, { recursive: true, force: true }));

const of = comparison();
const unwarned = (text: string): never => expect.unreachable(text);
const jobs = jobsOf(of);
await writeRun(root, jobOf(of, 'base', 0), { rewards: [0.1] });
for (const seed of [0, 1]) await writeRun(root, jobOf(of, 'best-of-4', seed), { rewards: [0.3] });
// `fast` rises, then loses its diversity; `slow` reaches 0.2 in the end, for a fraction of the queries an update.
await writeRun(root, jobOf(of, 'fast', 0), { rewards: [0.1, 0.3, 0.6], diversity: (k) => (k === 2 ? 0.1 : 0.5), best: 1 });
await writeRun(root, jobOf(of, 'fast', 1), { rewards: [0.1, 0.3, 0.8], diversity: (k) => (k === 2 ? 0.1 : 0.5), best: 1 });
await writeRun(root, jobOf(of, 'slow', 0), { rewards: [0.1, 0.15, 0.2], queriesAnUpdate: 1 });

const failure = { entry: 'slow', seed: 1, reason: 'no <memory>' };
const results = await writeComparison(of, jobs, root, [failure], 'attune compare --config trial.yaml', unwarned);
const entry = (name: string) => results.entries.find((e) => e.name === name)!;
const read = (name: string): Promise<string> => readFile(join(root, name), 'utf8');

describe('results', () => {
  test('are means over seeds, at the end and at the checkpoint that each run chose', () => {
    const { mean, deviation, count } = entry('fast').last.reward!;
    expect([mean, deviation, count]).toEqual([expect.closeTo(0.7), expect.closeTo(Math.SQRT2 / 10), 2]);
    expect(entry('fast').last.diversity!.mean).toBeCloseTo(0.1);
    expect(entry('fast').best.reward!.mean).toBeCloseTo(0.3);
    expect(entry('fast').best.step!.mean).toBe(10);
    expect(entry('slow').last.rewardQueries).toEqual({ mean: 20, deviation: null, count: 1 });
    expect(entry('fast').curve.map((m) => m.seconds!.mean)).toEqual([0, 10, 20]);
    expect(entry('fast').sweep.map((s) => [s.strength, s.reward!.mean])).toEqual([[0, 0], [0.5, 0.5], [1, 1]]);
    expect(results).toMatchObject({ missing: 0, independentFrechet: 0.25, common: { rewards: ['quality', 'emoji-clip:4'] } });
  });

  test('tell what the smallest final reward costs, and each final reward', () => {
    expect(results.price!.target).toBeCloseTo(0.2);
    expect(results.price!.by['fast']!.rewardQueries.cost).toBeCloseTo(40);
    expect(results.price!.by['slow']!.rewardQueries.cost).toBeCloseTo(20);
    expect(results.queriesForFinal['slow']!['fast']).toEqual({ cost: null, reached: 0, seeds: 1 });
    expect(results.queriesForFinal['fast']!['fast']).toMatchObject({ reached: 1, seeds: 2 });
  });
});

describe('the best checkpoint', () => {
  test('is the one that each run chose, whose strengths are shown, whatever a rule would say of the rows', async () => {
    const job = jobOf(of, 'fast', 0);
    const folder = await mkdtemp(join(root, 'chosen-'));
    // The judge falls throughout, less than the run took for a fall.
    await writeRun(folder, job, { rewards: [0.1, 0.3, 0.6], best: 2 });
    const record = await readRun(join(folder, job.folder), 'fast', 0);
    expect([record.best, record.sweep.map((s) => s.step)]).toEqual([2, [20, 20, 20]]);
    await writeRun(folder, job, { rewards: [0.1, 0.3, 0.6], best: 0 });
    expect((await readRun(join(folder, job.folder), 'fast', 0)).best).toBe(0);
  });

  test('has its rule told by the comparison\'s settings', async () => {
    const settings = { guard: { minDiversity: 0.8, tolerance: 4 }, prompts: 'animals', evaluation: { prompts: 2, images: 2 } };
    const own = comparison({ settings });
    const note = bestNote(gather(own, [], { common: jobsOf(own)[0]!.config, independentFrechet: null, failures: [], missing: 0 }));
    expect(note).toBe('The highest reward.'); // nothing was measured
    const text = bestNote({ ...results, common: jobsOf(own)[0]!.config });
    expect(text).toMatch(/at least 80% of .* by more than 4 standard errors/);
    expect(await read('results.md')).toContain(bestNote(results));
    expect(bestNote(results)).toMatch(/at least 50% of .* by more than chance makes it/);
  });

  test('is shown where nothing chose it, beside the base model there', async () => {
    const folder = await mkdtemp(join(root, 'reported-'));
    const on = { list: 'heldout', prompts: 16, images: 32, seed: 1_000_000, untrained: true };
    const at = (reward: number, diversity: number) => ({ step: 0, reward, heldOutReward: 0.6, heldOutError: 0.1, diversity, frechet: 0 });
    const reported = [{ on, base: at(0.11, 0.4), tuned: at(0.77, 0.2), gainInDeviations: 2, gainError: 0.1, changes: { gain: [1, 2, 3, 4, 5], wins: [0.5, 1, 1, 0.5, 0], diversity: [-0.2, -0.1, 0, -0.3, -0.1] } }];
    await writeRun(folder, jobOf(of, 'base', 0), { rewards: [0.1] });
    await writeRun(folder, jobOf(of, 'fast', 0), { rewards: [0.1, 0.3], summary: { reported } });
    await writeComparison(of, jobs, folder, [], 'attune compare', unwarned);
    const text = (await readFile(join(folder, 'results.md'), 'utf8')).split('### Where nothing chose it')[1]!.split('### ')[0]!;
    expect(text).toContain('16 prompts of heldout that are not trained on');
    expect(text).toContain('| base | 1 | 0.110 | 0.600 | 0.400 | 100% |');
    expect(text).toContain('| fast | 1 | 0.770 | 0.600 | 0.200 | 50% |');
    expect(text).toMatch(/\| fast \| \+3\.00 \(\+\d\.\d+ to \+\d\.\d+\) \| 60% \(\d+% to \d+%\) \| −0\.140 \(−0\.\d+ to [+−]0\.\d+\) \|/);
    expect(text).not.toContain('reward queries |');
  });

  test('measures that no run took have no column and no figure', async () => {
    const folder = await mkdtemp(join(root, 'bare-'));
    await writeRun(folder, jobOf(of, 'base', 0), { rewards: [0.1], diversity: null });
    await writeRun(folder, jobOf(of, 'fast', 0), { rewards: [0.1, 0.3], diversity: null });
    await writeComparison(of, jobs, folder, [], 'attune compare', unwarned);
    const text = await readFile(join(folder, 'results.md'), 'utf8');
    expect(text).toContain('| fast | 1 | 0.300 | 60% | 0.150 | 10 |');
    for (const word of ['diversity', 'Fréchet', 'NaN']) expect(text.includes(word), word).toBe(false);
    expect(await readdir(join(folder, 'figures'))).not.toContain('front-diversity.svg');
  });
});

describe('files', () => {
  test('Markdown has the tables, and figures that exist', async () => {
    const text = await read('results.md');
    expect(text).toContain('| fast | 2 | 0.700 ± 0.14 | 70% | 0.350 ± 0.071 | 0.100 | 20% | 0.100 | 0.200 | 0.0200 |');
    expect(text).toContain('| best-of-4 | 2 | 0.300 | – |');
    expect(text).toContain('| slow | 20 | 20 | 2,000 | 20 | × 1.0 |');
    expect(text).toMatch(/\| slow \| not reached \|/);
    expect(text).toContain('> slow, seed 1, failed: no <memory>');
    expect(text).toContain('attune compare --config trial.yaml');
    const files = await readdir(join(root, 'figures'));
    const named = [...text.matchAll(/\]\(figures\/([^)]+)\)/g)].map((m) => m[1]!);
    expect(named.toSorted()).toEqual(files.toSorted());
    expect(named.length).toBe(10);
    for (const name of files) expect((await sharp(join(root, 'figures', name)).metadata()).width).toBeGreaterThan(100);
  });

  test('the page says the same, escaped, and asks for nothing', async () => {
    const text = await read('report.html');
    expect(text).toContain('no &lt;memory&gt;');
    expect(text).toContain('0.700 ± 0.14');
    expect(text.match(/<svg /g)).toHaveLength(8);
    for (const word of ['NaN', 'undefined', '[object']) expect(text.includes(word), word).toBe(false);
    expect([...text.matchAll(/\s(?:src|href)="([^"]{5})/g)].every((m) => m[1] === 'data:')).toBe(true);
  });

  test('the numbers can be read back', async () => {
    expect(JSON.parse(await read('results.json'))).toEqual(JSON.parse(JSON.stringify(results)));
  });
});

describe('run folders', () => {
  test('pictures are those that each run saved, at their place; a run of before there was a log has none, which is told', async () => {
    const folder = await mkdtemp(join(root, 'old-'));
    const some = jobs.filter(({ entry, seed }) => seed === 0 && entry !== 'best-of-4');
    for (const job of some) {
      await writeRun(folder, job, { rewards: [0.1, 0.2], old: job.entry === 'slow', levels: job.entry === 'fast' ? [0, 0.4, 0.6, 1] : [0.5, 0.5, 0.5, 0.5] });
    }
    const told: string[] = [];
    const { entries } = await writeComparison(of, some, folder, [], 'attune compare', (text) => told.push(text));
    expect(entries.map((e) => [e.name, e.last.reward!.mean])).toEqual([['base', 0.2], ['fast', 0.2], ['slow', 0.2]]);
    expect(told).toEqual(['no pictures of slow: made by a version of Attune that saved none by themselves']);
    const file = join(folder, 'figures', 'pictures-of-a-prompt.png');
    const { width, height } = await sharp(file).metadata();
    // Two rows of four pictures, 96 pixels wide with 4 between, from the lower right.
    const grey = async (column: number, row: number): Promise<number> => {
      const [left, top] = [width - (4 - column) * 100 + 40, height - (2 - row) * 100 + 40];
      return (await sharp(file).extract({ left, top, width: 1, height: 1 }).removeAlpha().raw().toBuffer())[0]!;
    };
    for (const [i, level] of [0, 0.4, 0.6, 1].entries()) {
      expect(Math.abs(await grey(i, 1) / 255 - level)).toBeLessThan(0.02);
      expect(Math.abs(await grey(i, 0) / 255 - 0.5)).toBeLessThan(0.02);
    }
  });

  test('a picture that was deleted or damaged since leaves its place empty, and is told once', async () => {
    const folder = await mkdtemp(join(root, 'lost-'));
    const some = jobs.filter(({ entry, seed }) => seed === 0 && entry === 'fast');
    await writeRun(folder, some[0]!, { rewards: [0.1, 0.2] });
    const samples = join(folder, some[0]!.folder, 'samples', 'step-000010');
    await rm(join(samples, '000.png'));
    await writeFile(join(samples, '001.png'), 'no picture');
    const told: string[] = [];
    const { entries } = await writeComparison(of, some, folder, [], 'attune compare', (text) => told.push(text));
    expect(entries.map((e) => [e.name, e.last.reward!.mean])).toEqual([['fast', 0.2]]);
    expect(told.toSorted()).toEqual([expect.stringMatching(/^a picture is left out: .*000\.png/), expect.stringMatching(/^a picture is left out: .*001\.png.* cannot be read/)]);
    expect((await readdir(join(folder, 'figures'))).filter((name) => name.endsWith('.png'))).toHaveLength(2);
  });

  test('damage is reported by file and field', async () => {
    const job = jobOf(of, 'slow', 1);
    const folder = join(root, job.folder);
    await expect(readRun(folder, 'slow', 1)).rejects.toThrow(/metrics\.jsonl.*holds no evaluation/);
    await writeRun(root, job, { rewards: [0.1, 0.2], old: true, summary: { peakBytes: 'much' } });
    await expect(readRun(folder, 'slow', 1)).rejects.toThrow(/summary\.json.*peakBytes/);
    await writeRun(root, job, { rewards: [0.1, 0.2], old: true, summary: { best: 7 } });
    await expect(readRun(folder, 'slow', 1)).rejects.toThrow(/summary\.json.*best: there is no evaluation at step 7/);
    const costs = '"rewardQueries": 0, "denoiserCalls": 0, "seconds": 0';
    await writeFile(join(folder, 'metrics.jsonl'), '{"step": 0, "evalReward": 1}\n');
    await expect(readRun(folder, 'slow', 1)).rejects.toThrow(/metrics\.jsonl.*step 0 has no rewardQueries/);
    await writeFile(join(folder, 'metrics.jsonl'), `{"step": 0, "evalReward": 1, "heldOutReward": 1, ${costs}}\n`);
    await expect(readRun(folder, 'slow', 1)).rejects.toThrow(/metrics\.jsonl: line 1.*heldOutError/);
    await writeFile(join(folder, 'metrics.jsonl'), `{"step": 0, "evalReward": 1, ${costs}}\n{\n`);
    await expect(readRun(folder, 'slow', 1)).rejects.toThrow(/metrics\.jsonl: line 2 is not JSON/);
  });
});
