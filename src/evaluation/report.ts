/** @file The report of a run: one self-contained page, a pure function of the run's numbers and pictures. */
import { gallery, GALLERY_SCRIPT } from './gallery.js';
import type { Pair, Strength } from './gallery.js';
import type { Evaluation, GuardOptions, Verdict } from './hacking-guard.js';
import { EMPTY, Html, html, page, table } from './html.js';
import { plot } from './plot.js';
import type { PlotOptions, Point, Series } from './plot.js';
import { numberText } from './ticks.js';

/** What a line of `metrics.jsonl` says of a training step. */
export interface StepMetrics {
  readonly step: number;
  readonly reward: number;
  readonly loss: number;
  readonly gradNorm: number;
}

export interface RunReport {
  /** "draft-lv on emoji-clip", say. */
  readonly title: string;
  readonly rewardName: string;
  readonly heldOutName?: string;
  /** Deviation of the base model's reward between images: the unit of the gain. */
  readonly rewardDeviation: number;
  readonly steps: readonly StepMetrics[];
  /** The base model's first. */
  readonly evaluations: readonly Evaluation[];
  readonly guard: GuardOptions;
  readonly verdict: Verdict;
  readonly pairs: readonly Pair[];
  /** The command of the base model's pictures but for prompt and seed, and what it takes for the tuned ones. */
  readonly remake: { readonly command: string; readonly tuned: string } | null;
  readonly sweep: readonly Strength[];
  /** Seed, device, duration, versions and the like, as name and value. */
  readonly facts: readonly (readonly [name: string, value: string])[];
  /** The resolved configuration: plain objects, lists and values. */
  readonly config: unknown;
  /** What lies beside the report, as path and meaning. */
  readonly files: readonly (readonly [path: string, meaning: string])[];
}

/** The page as a text. */
export function renderReport(run: RunReport): string {
  const pictures = run.pairs.length === 0 ? EMPTY : html`<h2>Before and after</h2>
<p class="muted">The same prompts and seeds through the base model and through the saved LoRA.${remakeNote(run)}</p>
${gallery(run.pairs, run.sweep)}`;
  const body = html`<header><h1>${run.title}</h1>${lead(run)}</header>
${tiles(run)}${verdictNote(run)}${pictures}
<h2>Reward against diversity</h2>
<p class="muted">What a gain costs. Up and to the right is better; a curve that falls steeply is a model that learns to
repeat itself.</p>
<div class="plots">${fronts(run)}</div>
<h2>Training</h2><div class="plots">${curves(run)}</div>
<h2>Evaluations</h2>${evaluationTable(run)}
${run.sweep.length > 0 ? html`<h2>LoRA strengths</h2>${sweepTable(run)}` : EMPTY}
<h2>Particulars</h2>${particulars(run)}
<footer>Written by Attune. This page is complete in itself and loads nothing.</footer>`;
  return page(run.title, body, GALLERY_SCRIPT);
}

function remakeNote({ remake }: RunReport): Html {
  return remake === null ? EMPTY : html` To make one again, add prompt and seed, and
<code>${remake.tuned}</code> for the tuned one, to <code>${remake.command}</code>.`;
}

const base = (run: RunReport): Evaluation => run.evaluations[0]!;
const best = (run: RunReport): Evaluation => run.evaluations[run.verdict.best]!;
const judgeName = (run: RunReport): string => run.heldOutName ?? 'judge';
const signed = (x: number, digits = 2): string => `${x < 0 ? '−' : '+'}${numberText(Math.abs(x), digits)}`;
const percent = (x: number): string => `${Math.round(100 * x)}%`;
const kept = (run: RunReport, diversity: number): string => percent(diversity / base(run).diversity);

function lead(run: RunReport): Html {
  const [from, to] = [base(run), best(run)];
  if (run.verdict.best === 0) return html`<p class="lead">No evaluation was better than the base model's.</p>`;
  const judge = from.heldOutReward === undefined || to.heldOutReward === undefined ? ''
    : ` The independent judge's score went from ${numberText(from.heldOutReward)} to ${numberText(to.heldOutReward)}.`;
  const gain = (to.reward - from.reward) / run.rewardDeviation;
  const unit = Number.isFinite(gain) ? ` (${signed(gain)} standard deviations of the base model's images)` : '';
  return html`<p class="lead">At step ${to.step}, the best, the reward is ${numberText(to.reward)} against
${numberText(from.reward)} before${unit}.${judge}
The images of one prompt are ${kept(run, to.diversity)} as diverse as before.</p>`;
}

function tiles(run: RunReport): Html {
  const [from, to] = [base(run), best(run)];
  const tile = (name: string, value: string, note: string): Html =>
    html`<div class="tile"><span>${name}</span><b>${value}</b><span>${note}</span></div>`;
  const before = (value: number): string => `${numberText(value)} before`;
  const heldOut = to.heldOutReward === undefined || from.heldOutReward === undefined ? EMPTY
    : tile(`Held out: ${judgeName(run)}`, numberText(to.heldOutReward), before(from.heldOutReward));
  return html`<div class="tiles">
${tile(`Reward: ${run.rewardName}`, numberText(to.reward), before(from.reward))}${heldOut}
${tile('Diversity', kept(run, to.diversity), `${numberText(to.diversity)}, ${before(from.diversity)}`)}
${tile('Fréchet distance', numberText(to.frechet), 'to the base model\'s samples')}</div>`;
}

function verdictNote({ verdict: { stop } }: RunReport): Html {
  return stop ? html`<p class="note"><b>The guard stopped the run:</b> ${stop.reason}.</p>` : EMPTY;
}

const SIZE = { width: 400, height: 270 };
const chart = (series: readonly Series[], options: PlotOptions): Html =>
  new Html(plot(series, { ...SIZE, ...options }));
const guardLimit = (run: RunReport): { y: number; label: string } =>
  ({ y: run.guard.minDiversity * base(run).diversity, label: 'the guard\'s limit' });
const labelled = (x: number, y: number, label: string | undefined): Point =>
  ({ x, y, ...(label !== undefined && { label }) });

function fronts(run: RunReport): Html[] {
  const named = new Map([[run.evaluations.length - 1, `step ${run.evaluations.at(-1)!.step}`],
    [run.verdict.best, `best, step ${best(run).step}`], [0, 'base']]);
  const checkpoints = run.evaluations.map((e, i) => labelled(e.reward, e.diversity, named.get(i)));
  // Strength 0 is the base model, which already has its name.
  const strengths = run.sweep.map(({ strength, reward, diversity }) =>
    labelled(reward, diversity, strength > 0 && Number.isInteger(2 * strength) ? `× ${strength}` : undefined));
  const front = chart([
    { name: 'training steps', points: checkpoints, marks: 'both' },
    { name: 'LoRA strength', points: strengths, marks: 'both', color: 1 },
  ], { title: 'Reward against diversity', x: run.rewardName, y: 'diversity', levels: [guardLimit(run)] });
  if (run.sweep.length < 2) return [front];
  const bySweep = (title: string, y: string, of: (s: Strength) => number | undefined, color: number): Html =>
    chart([{ name: y, color, marks: 'both', points: run.sweep.map((s) => ({ x: s.strength, y: of(s) ?? NaN })) }],
      { title, x: 'LoRA strength', y });
  return [
    front,
    bySweep('Reward by LoRA strength', run.rewardName, (s) => s.reward, 0),
    bySweep('Diversity by LoRA strength', 'mean pairwise distance', (s) => s.diversity, 2),
    ...(run.sweep.some((s) => s.heldOutReward !== undefined)
      ? [bySweep('Held-out reward by LoRA strength', judgeName(run), (s) => s.heldOutReward, 1)] : []),
  ];
}

function curves(run: RunReport): Html[] {
  const steps = (of: (s: StepMetrics) => number): Point[] => run.steps.map((s) => ({ x: s.step, y: of(s) }));
  const evaluated = (of: (e: Evaluation) => number | undefined): Point[] =>
    run.evaluations.map((e) => ({ x: e.step, y: of(e) ?? NaN }));
  const noisy = (name: string, points: readonly Point[], color: number): Series[] => {
    const raw = thinned(points.filter((p) => Number.isFinite(p.y)));
    return [{ name, points: raw, faint: true, color }, { name, points: runningMean(raw), color }];
  };
  const dots = (name: string, color: number, of: (e: Evaluation) => number | undefined): Series =>
    ({ name, color, marks: 'both', points: evaluated(of) });
  const x = 'step';
  const spread = run.evaluations.map((e) => e.heldOutError ?? 0);
  const heldOut = { ...dots('held-out', 1, (e) => e.heldOutReward), spread };
  const judged = run.evaluations.some((e) => e.heldOutReward !== undefined);
  return [
    chart([...noisy('batches', steps((s) => s.reward), 0), dots('evaluated', 4, (e) => e.reward)],
      { title: 'Reward', x, y: run.rewardName }),
    ...(judged ? [chart([heldOut], { title: 'Held-out reward', x, y: `${judgeName(run)}, ± standard error` })] : []),
    chart([dots('diversity', 2, (e) => e.diversity)],
      { title: 'Diversity', x, y: 'mean pairwise distance within a prompt', levels: [guardLimit(run)] }),
    chart([dots('Fréchet distance', 3, (e) => e.frechet)],
      { title: 'Fréchet distance', x, y: 'to the base model\'s samples' }),
    chart(noisy('loss', steps((s) => s.loss), 0), { title: 'Loss', x, y: 'what is minimised' }),
    chart(noisy('gradient', steps((s) => s.gradNorm), 0), { title: 'Gradient norm', x, y: 'norm before clipping' }),
  ];
}

/** Mean over a twentieth of the points, centred on each, so that it does not lag behind. */
function runningMean(points: readonly Point[]): Point[] {
  const half = Math.max(2, Math.round(points.length / 40));
  return points.map(({ x }, i) => ({ x, y: meanOf(points.slice(Math.max(0, i - half), i + half + 1), (p) => p.y) }));
}

const meanOf = (points: readonly Point[], of: (p: Point) => number): number =>
  points.reduce((sum, p) => sum + of(p), 0) / points.length;

const MOST_POINTS = 300;

/** At most so many points, each the mean of its neighbours: a long run must not make a large page. */
function thinned(points: readonly Point[]): Point[] {
  const size = Math.ceil(points.length / MOST_POINTS);
  if (size <= 1) return [...points];
  return Array.from({ length: Math.ceil(points.length / size) }, (_, i) => {
    const part = points.slice(i * size, (i + 1) * size);
    return { x: meanOf(part, (p) => p.x), y: meanOf(part, (p) => p.y) };
  });
}

const orDash = (x: number | undefined): string => (x === undefined ? '–' : numberText(x));

function evaluationTable(run: RunReport): Html {
  const parts = Object.keys(base(run).rewardParts ?? {});
  const rows = run.evaluations.map((e, i) => [
    i === 0 ? 'base model' : `step ${e.step}${i === run.verdict.best ? ', best' : ''}`,
    numberText(e.reward), ...parts.map((name) => orDash(e.rewardParts?.[name])), orDash(e.heldOutReward),
    numberText(e.diversity), kept(run, e.diversity), numberText(e.frechet),
  ]);
  return table(['', 'reward', ...parts, 'held-out', 'diversity', 'of the base', 'Fréchet'], rows, run.verdict.best);
}

function sweepTable(run: RunReport): Html {
  const rows = run.sweep.map(({ strength, reward, heldOutReward, diversity }) =>
    [`× ${strength}`, numberText(reward), orDash(heldOutReward), numberText(diversity), kept(run, diversity)]);
  return table(['strength', 'reward', 'held-out', 'diversity', 'of the base'], rows);
}

function particulars(run: RunReport): Html {
  const row = ([name, value]: readonly [string, string]): Html =>
    html`<tr><th scope="row">${name}</th><td><code>${value}</code></td></tr>`;
  const list = (rows: readonly (readonly [string, string])[]): Html =>
    html`<table class="plain">${rows.map(row)}</table>`;
  const files = run.files.map(([path, meaning]) => [meaning, path] as const);
  return html`${list(run.facts)}
${files.length > 0 ? html`<details open><summary>Files</summary>${list(files)}</details>` : EMPTY}
<details><summary>Configuration</summary>${list(flattened(run.config))}</details>`;
}

/** Nested values as rows of dotted path and text. */
function flattened(value: unknown, path = ''): [string, string][] {
  if (typeof value !== 'object' || value === null) return [[path, String(value)]];
  const entries = Object.entries(value);
  if (entries.length === 0) return [[path, Array.isArray(value) ? '[]' : '{}']];
  return entries.flatMap(([key, v]) => flattened(v, path ? `${path}.${key}` : key));
}
