/** @file What the default guard would have done with the judged runs, beside a guard with the independent judge: tables and plots. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { deviation, pairedDifference } from '../../src/evaluation/evaluation.js';
import { GUARD_DEFAULTS, guardVerdict } from '../../src/evaluation/hacking-guard.js';
import type { Judged } from '../../src/evaluation/hacking-guard.js';
import { plot } from '../../src/evaluation/plot.js';
import type { MeasuredRun, MeasuredStep } from './measure.js';

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

/** Spearman's rank correlation; NaN for fewer than three points. */
function rankCorrelation(x: readonly number[], y: readonly number[]): number {
  if (x.length < 3) return NaN;
  const ranks = (values: readonly number[]): number[] => {
    const order = values.toSorted((a, b) => a - b);
    return values.map((v) => (order.indexOf(v) + order.lastIndexOf(v)) / 2);
  };
  const [a, b] = [ranks(x), ranks(y)];
  const [ma, mb] = [mean(a), mean(b)];
  const product = a.reduce((sum, v, i) => sum + (v - ma) * (b[i]! - mb), 0);
  return product / Math.sqrt(a.reduce((s, v) => s + (v - ma) ** 2, 0) * b.reduce((s, v) => s + (v - mb) ** 2, 0));
}

/** A step as a guard with these measures sees it. */
const seen = (s: MeasuredStep, scores: readonly number[], diversities: readonly number[]): Judged => ({
  step: s.step, reward: s.reward, heldOutReward: mean(scores), heldOutError: deviation(scores) / Math.sqrt(scores.length), heldOutScores: scores,
  diversity: mean(diversities), diversities,
});

interface Outcome {
  /** The step at which it stops the run, and by which rule; null: never. */
  readonly stop: string | null;
  /** The step of the checkpoint that it keeps. */
  readonly best: number;
}

function outcome(history: readonly Judged[]): Outcome {
  for (let n = 1; n <= history.length; n++) {
    const { stop, best } = guardVerdict(history.slice(0, n), GUARD_DEFAULTS);
    if (stop) return { stop: `${history[n - 1]!.step}, ${stop.rule}`, best: history[best]!.step };
  }
  return { stop: null, best: history[guardVerdict(history, GUARD_DEFAULTS).best]!.step };
}

/** Standard errors by which the last evaluation differs from the base model's. */
function change(run: MeasuredRun, of: (s: MeasuredStep) => readonly number[]): string {
  const { mean: difference, error } = pairedDifference(of(run.steps[0]!), of(run.steps.at(-1)!));
  return (difference / error!).toFixed(1);
}

const kept = (run: MeasuredRun, space: 'clip' | 'unet'): number =>
  mean(run.steps.at(-1)!.diversities[space]) / mean(run.steps[0]!.diversities[space]);

export async function writeJudgement(runs: readonly MeasuredRun[], folder: string): Promise<void> {
  const rows = runs.map((run) => {
    const independent = outcome(run.steps.map((s) => seen(s, s.judge, s.diversities.clip)));
    const own = outcome(run.steps.map((s) => seen(s, s.self, s.diversities.unet)));
    return [
      run.name, change(run, (s) => s.judge), change(run, (s) => s.self),
      `${Math.round(100 * kept(run, 'clip'))}%`, `${Math.round(100 * kept(run, 'unet'))}%`,
      independent.stop ?? '–', own.stop ?? '–', independent.best, own.best,
    ];
  });
  const head = ['run', 'judge', 'self', 'CLIP div.', 'unet div.', 'stop by judge', 'stop by default', 'best by judge', 'by default'];
  const line = (cells: readonly unknown[]): string => `| ${cells.join(' | ')} |`;
  const table = [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
  const later = runs.map(({ steps: [base, ...rest] }) => ({ base: base!, rest }));
  const shares = (space: 'clip' | 'unet'): number[] => later.flatMap(({ base, rest }) => rest.map((s) => mean(s.diversities[space]) / mean(base.diversities[space])));
  const within = runs.filter((r) => r.steps.length > 3).map((run) =>
    rankCorrelation(run.steps.map((s) => mean(s.diversities.clip)), run.steps.map((s) => mean(s.diversities.unet))));
  const falls = (of: (s: MeasuredStep) => readonly number[]): number[] => later.flatMap(({ base, rest }) => rest.map((s) => mean(of(s)) - mean(of(base))));
  const text = `${table}\n\nJudge and self-alignment over ${shares('clip').length} checkpoints, differences from the base model: rank correlation `
    + `${rankCorrelation(falls((s) => s.judge), falls((s) => s.self)).toFixed(2)}. Diversity as a share of the base model's, emoji-clip and the base U-Net: `
    + `${rankCorrelation(shares('clip'), shares('unet')).toFixed(2)} over all, within runs of more than three evaluations `
    + `${within.map((r) => r.toFixed(2)).join(', ')}.`;
  console.log(text);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'judged.md'), `${text}\n`);
  const over = (of: (s: MeasuredStep, base: MeasuredStep) => number) => (run: MeasuredRun) =>
    ({ name: run.name, marks: 'both' as const, points: run.steps.map((s) => ({ x: s.step, y: of(s, run.steps[0]!) })) });
  const plots = {
    'judge': [over((s) => mean(s.judge)), 'independent judge'],
    'self-alignment': [over((s) => mean(s.self)), 'self-alignment'],
    'diversity-clip': [over((s, base) => mean(s.diversities.clip) / mean(base.diversities.clip)), 'of the base model\'s diversity, emoji-clip'],
    'diversity-unet': [over((s, base) => mean(s.diversities.unet) / mean(base.diversities.unet)), 'of the base model\'s diversity, its own U-Net'],
  } as const;
  for (const [name, [series, y]] of Object.entries(plots)) {
    const svg = plot(runs.map((run) => series(run)), { title: `${y} by update`, x: 'update', y, theme: 'light', width: 720, height: 420 });
    await writeFile(join(folder, `${name}.svg`), svg);
  }
}
