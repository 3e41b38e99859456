/** @file What a run measures, writes and exports, read back as comparisons and people read it: real runs of a tiny model. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { readRun } from '../../src/comparison/run-record.js';
import { evaluationSchema } from '../../src/evaluation/evaluation.js';
import { hasEffect } from '../../src/formats/lora.js';
import { readLora } from '../../src/formats/lora-file.js';
import { host } from '../../src/graph/dtype.js';
import type { Method } from '../../src/methods/method.js';
import { color } from '../../src/rewards/color.js';
import { resolveConfig } from '../../src/training/config.js';
import { silent } from '../../src/runs/progress.js';
import { runTraining } from '../../src/training/run.js';
import type { RunOptions } from '../../src/training/run.js';
import { openSession } from '../../src/training/session.js';
import type { Own } from '../../src/training/session.js';
import { summarySchema } from '../../src/runs/summary.js';
import type { Summary } from '../../src/runs/summary.js';
import { scratch, tiny } from '../cli/helpers.js';

const folder = scratch();
/** Which way brightens the pictures, with a LoRA and with all weights. */
const [SIGN, FULL_SIGN] = [1, -1];
const [list, other] = [join(folder, 'prompts.txt'), join(folder, 'others.txt')];
await writeFile(list, 'a cat\na dog\na horse\n');
await writeFile(other, 'a house\na cat\na tree\n');

/** Moves all that is trained one way: no gradient is needed to see what is measured and written. */
const nudge = (sign: number): Method<never> => ({
  name: 'nudge', summary: '', paper: 'none', options: z.any() as unknown as z.ZodType<never>,
  needs: { differentiableReward: false, density: false }, sampling: { noise: 0, noisyEnd: false },
  create: async (task) => ({
    async *round() {
      const gradients = new Map([...task.parameters].map(([name, { shape, data }]) =>
        [name, host(new Float32Array(data.length).fill(sign), shape)]));
      yield { gradients, loss: 1, rewards: Float32Array.of(0.25, 0.75) };
    },
    release: async () => {},
  }),
});

/** A method in whose round `at` somebody presses Ctrl-C. */
function interruptedIn(at: number, method: Method<never>): { method: Method<never>; signal: AbortSignal } {
  const controller = new AbortController();
  const create: Method<never>['create'] = async (task, options) => {
    const rule = await method.create(task, options);
    return {
      ...rule,
      round(prompts, round) {
        if (round === at) controller.abort();
        return rule.round(prompts, round);
      },
    };
  };
  return { method: { ...method, create }, signal: controller.signal };
}

/** The judge likes exactly what the reward does not: it falls as the reward rises. */
const JUDGE = 'color?property=darkness';
const FEATURES = join(import.meta.dirname, '..', 'fixtures', 'preference_pickscore');

const config = (...settings: [string, unknown][]) => resolveConfig({
  model: tiny, prompts: list, rewards: ['color'], steps: 2, batch: 2, samplingSteps: 2, size: 64, threads: 1, guidance: 1, lr: 0.02,
  checkpointEvery: 1,
  evaluation: {
    heldOut: JUDGE, features: FEATURES, every: 1, prompts: 2, images: 2, sweep: [0.5], final: { prompts: 2, images: 2 },
  },
}, settings);

const own = (sign: number): Own => ({ reward: color('brightness', 'brightness'), method: nudge(sign) });

interface Done {
  readonly path: string;
  readonly summary: Summary;
  /** Phases and warnings. */
  readonly told: string[];
  readonly warned: string[];
}

async function run(name: string, settings: [string, unknown][] = [], options: RunOptions = {}, sign = SIGN): Promise<Done> {
  const path = join(folder, name);
  const [told, warned]: [string[], string[]] = [[], []];
  const progress = { ...silent, phase: (t: string) => void told.push(t), warn: (t: string) => void warned.push(t) };
  const summary = await runTraining(config(...settings), path, { progress, own: own(sign), ...options });
  return { path, summary: summary!, told, warned };
}

const events = async (path: string): Promise<string> =>
  (await readFile(join(path, (await readdir(path)).find((f) => f.startsWith('events.out'))!))).toString('latin1');
const lines = async (path: string): Promise<Record<string, number>[]> =>
  (await readFile(join(path, 'metrics.jsonl'), 'utf8')).trim().split('\n').map((line) => JSON.parse(line) as Record<string, number>);

describe('a run whose judge falls, within what is tolerated', { timeout: 600_000 }, async () => {
  const { path, summary, told, warned } = await run('tolerant', [['guard.tolerance', 1e6]]);

  test('is read by comparisons as it was written: every evaluation, its own best, the sweep of that', async () => {
    const record = await readRun(path, 'x', 0);
    const evaluations = record.points.map((p) => evaluationSchema.parse(p));
    expect(evaluations).toHaveLength(3);
    for (const e of evaluations) expect(e.heldOutError).toBeGreaterThan(0);
    expect(evaluations[0]).toEqual(summary.base);
    expect(evaluations[0]!.frechet).toBe(0);
    expect(evaluations.at(-1)!.heldOutReward).toBeLessThan(summary.base.heldOutReward!);
    expect(record.best).toBe(2);
    expect(record.points[record.best]!.step).toBe(summary.best);
    const whole = record.sweep.find((s) => s.strength === 1)!;
    expect(whole.reward).toBeCloseTo(record.points[record.best]!.reward, 4);
    expect(record.sweep.map((s) => s.strength)).toEqual([0, 0.5, 1]);
    expect(record.reported).toEqual(summary.reported);
    expect(summarySchema.parse(JSON.parse(await readFile(join(path, 'summary.json'), 'utf8')))).toEqual(summary);
    expect(await events(path)).toContain('heldOutError');
    expect(told.join('\n')).toMatch(/guard against reward hacking by diversity .*held-out judge color/);
    expect(warned).toEqual([]);
  });

  test('exports its best, which is the last, and says so', async () => {
    expect(summary.exported).toEqual([{ path: 'lora', step: 2, changes: true, why: expect.stringContaining('1000000 standard errors') }]);
    expect(await readdir(path)).not.toContain('lora-last');
    expect(hasEffect((await readLora(summary.lora[0]!)).lora)).toBe(true);
  });

  test('is reported on noise that chose nothing', async () => {
    const [unseen, { on, base, tuned }] = summary.reported as [Summary['reported'][number], Summary['reported'][number]];
    const { gainInDeviations, gainError } = unseen;
    expect(unseen.on).toEqual({ list: 'heldout', prompts: 2, images: 4, seed: 1_000_000, untrained: true });
    expect(on).toEqual({ list, prompts: 1, images: 2, seed: 1_000_000, untrained: false }); // "a horse", the one that is not selected on
    expect(summary).toMatchObject({ gainInDeviations, gainError, selectedOn: { list, prompts: 2, images: 4, seed: 0 } });
    expect(base.reward).not.toBe(summary.base.reward);
    expect(tuned.reward).toBeGreaterThan(base.reward);
    // The same pictures, made as the selection of another session.
    const session = await openSession(config(['evaluation.seed', 1_000_000], ['evaluation.final.seed', 5], ['prompts', list],
      ['evaluation.promptSet', await only('a horse')], ['evaluation.prompts', 1]), silent, own(SIGN));
    expect((await session.evaluator.measure(0, null)).evaluation.reward).toBeCloseTo(base.reward, 5);
    await session.release();
  });
});

async function only(prompt: string): Promise<string> {
  const path = join(folder, 'only.txt');
  await writeFile(path, `${prompt}\n`);
  return path;
}

describe('a run whose judge falls, and no fall is tolerated', { timeout: 600_000 }, () => {
  test('keeps the base model as its best, in words, and the last weights beside it', async () => {
    const strict: [string, unknown][] = [['guard.tolerance', 0], ['guard.enabled', false], ['evaluation.final.promptSet', other]];
    const { path, summary, told, warned } = await run('strict', strict);
    expect(summary).toMatchObject({ best: 0, steps: 2, ended: 'finished', gainInDeviations: 0 });
    expect(summary.exported).toEqual([
      { path: 'lora', step: 0, changes: false, why: expect.stringMatching(/^No checkpoint was better than the base model/) },
      { path: 'lora-last', step: 2, changes: true, why: 'The last weights.' },
    ]);
    for (const file of ['kohya.safetensors', 'pytorch_lora_weights.safetensors', 'peft']) {
      expect(hasEffect((await readLora(join(path, 'lora', file))).lora)).toBe(false);
      expect(hasEffect((await readLora(join(path, 'lora-last', file))).lora)).toBe(true);
    }
    expect(warned.join('\n')).toMatch(/lora\/ has no effect: its pictures are the base model's\. No checkpoint/);
    expect(told.join('\n')).toMatch(/lora\/ holds step 0, the best; lora-last\/ holds step 2, the last/);
    expect(told.join('\n')).toContain('do not stop the run');
    expect((await readRun(path, 'x', 0)).best).toBe(0);
    // Held-out prompts come first, those that are trained on left out.
    expect(summary.reported.map(({ on }) => [on.list, on.prompts, on.untrained])).toEqual([[other, 2, true], [list, 1, false]]);
    const page = await readFile(join(path, 'report.html'), 'utf8');
    expect(page.includes('It has no effect')).toBe(true);
    expect(page.includes('2 prompts of')).toBe(true);
  });
});

describe('a run without judge and features', { timeout: 600_000 }, () => {
  test('has no such measure anywhere, and says at its start that the guard has no rule and what gives it some', async () => {
    const bare: [string, unknown][] = [['evaluation.heldOut', null], ['evaluation.features', null]];
    const { path, summary, told } = await run('bare', bare);
    const absent = ['heldOutReward', 'heldOutError', 'diversity', 'frechet'];
    for (const row of await lines(path)) for (const name of absent) expect(Object.keys(row)).not.toContain(name);
    const text = await readFile(join(path, 'summary.json'), 'utf8');
    for (const name of absent) expect(text).not.toContain(`"${name}"`);
    const binary = await events(path);
    for (const name of absent) expect(binary.includes(name), name).toBe(false);
    const page = (await readFile(join(path, 'report.html'), 'utf8')).replaceAll(/data:image[^"]*/g, '');
    const body = page.slice(page.indexOf('<body'), page.indexOf('<h2>Particulars'));
    for (const word of ['NaN', 'undefined', 'Diversity</', '>Fréchet', 'as diverse']) expect(body.includes(word), word).toBe(false);
    expect(summary.best).toBe(summary.exported[0]!.step);
    expect(told.join('\n')).toMatch(/no rule is active.*not measured: .*evaluation\.heldOut=REWARD.*evaluation\.features=CLIP_FOLDER/);
    expect((await readRun(path, 'x', 0)).points.every((p) => p.diversity === undefined)).toBe(true);
  });
});

describe('a run that names neither judge nor features', { timeout: 600_000 }, () => {
  test('is judged by its own base model, in every measure, and says how to have others', async () => {
    const { path, summary, told, warned } = await run('itself', [['evaluation.heldOut', 'auto'], ['evaluation.features', 'auto']]);
    expect(warned.filter((w) => w.includes('guard'))).toEqual([]);
    expect(told.join('\n')).toMatch(/guard against reward hacking by diversity .*, held-out judge self-alignment/);
    expect(told.join('\n')).toMatch(/the base model itself; for another judge, --set evaluation\.heldOut=REWARD; for other features, --set evaluation\.features=/);
    const { points } = await readRun(path, 'x', 0);
    for (const { heldOutReward, heldOutError, diversity } of points) for (const x of [heldOutReward, heldOutError, diversity]) expect(Math.abs(x!)).toBeGreaterThan(0);
    expect(points[0]!.frechet).toBe(0);
    // A full report: every measure at every evaluation, none of them 0 or NaN, and a chart, tile and column for each.
    const names = ['reward', 'winRate', 'heldOutReward', 'heldOutWinRate', 'diversity', 'drift', 'frechet', 'kid'] as const;
    for (const point of points.slice(1)) {
      for (const name of names) expect(Number.isFinite(point[name]), name).toBe(true);
      for (const name of ['reward', 'winRate', 'heldOutReward', 'diversity', 'drift', 'frechet', 'kid'] as const) expect(Math.abs(point[name]!), name).toBeGreaterThan(0);
      expect(point.winRateLow! <= point.winRate! && point.winRate! <= point.winRateHigh!).toBe(true);
    }
    expect(points[0]!.winRate).toBeUndefined();
    // The judge is the base model whatever has been trained: it is the same again for the same pictures.
    expect(new Set(points.map((p) => p.heldOutReward)).size).toBe(points.length);
    expect(summary.sweep.find((s) => s.strength === 0)!.heldOutReward).toBe(points[0]!.heldOutReward);
    const page = (await readFile(join(path, 'report.html'), 'utf8')).replaceAll(/data:image[^"]*/g, '');
    const body = page.slice(page.indexOf('<body'), page.indexOf('<h2>Particulars'));
    for (const word of ['NaN', 'undefined']) expect(body.includes(word), word).toBe(false);
    const plots = [...body.matchAll(/<svg [^]*?<\/svg>/g)].map(([svg]) => svg);
    for (const title of ['Reward', 'Win rate', 'Held-out reward', 'Win rate, held-out', 'Diversity', 'Drift', 'Fréchet distance', 'Kernel distance', 'Loss', 'Gradient norm', 'Reward against diversity']) {
      const found = plots.filter((svg) => svg.includes(`aria-label="${title}: `));
      expect(found.length, title).toBe(1);
      expect(/class="(line|f\d|bg l\d)/.test(found[0]!), `${title} draws nothing`).toBe(true);
    }
    for (const word of ['Fréchet distance needs thousands', 'Held-out reward', 'Diversity', 'Fréchet distance', 'self-alignment']) expect(body.includes(word), word).toBe(true);
    for (const tag of ['heldOutReward', 'winRate', 'kid', 'drift']) expect((await events(path)).includes(tag), tag).toBe(true);
  });
});

describe('full fine-tuning', { timeout: 600_000 }, () => {
  test('is measured against the base model, also by a process that did not measure it', async () => {
    const full: [string, unknown][] = [['train', 'full'], ['lr', 0.002], ['guard.tolerance', 1e6]];
    const whole = await run('full', full, {}, FULL_SIGN);
    const { method, signal } = interruptedIn(1, nudge(FULL_SIGN));
    expect(await runTraining(config(...full), join(folder, 'resumed'), { own: { ...own(FULL_SIGN), method }, signal })).toBeNull();
    const resumed = await run('resumed', full, { resume: true }, FULL_SIGN);
    expect(whole.summary.best).toBeGreaterThan(0);
    expect(whole.summary.tuned.frechet).toBeGreaterThan(0);
    expect(whole.summary.gainInDeviations).toBeGreaterThan(0);
    for (const key of ['base', 'tuned', 'reported', 'gainInDeviations', 'best', 'sweep'] as const) {
      expect(resumed.summary[key], key).toEqual(whole.summary[key]);
    }
    expect(whole.summary.base.reward).not.toBe(whole.summary.tuned.reward);
    const sheet = (path: string): Promise<Buffer> => readFile(join(path, 'before-after.png'));
    expect((await sheet(resumed.path)).equals(await sheet(whole.path))).toBe(true);
    expect(whole.summary.exported.map((e) => [e.path, e.changes])[0]).toEqual(['model', true]);
  });
});
