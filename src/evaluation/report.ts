/** @file The report of a run: one self-contained page, a pure function of the run's numbers and pictures. */
import { gainText, intervalText, setText } from './compared.js';
import type { Changes, Compared, SetFacts } from './compared.js';
import type { Evaluation } from './evaluation.js';
import { gallery, GALLERY_SCRIPT } from './gallery.js';
import type { Pair, Strength } from './gallery.js';
import type { GuardOptions, Verdict } from './hacking-guard.js';
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
  /** Which of its rules are active, and what is not measured. */
  readonly guardNote: { readonly active: string; readonly missing: string | null };
  readonly verdict: Verdict;
  /** What `evaluations` are of, and the best one is chosen by. */
  readonly selectedOn: SetFacts;
  /** The best one beside the base model where nothing chose it; the headline first. */
  readonly reported: readonly Compared[];
  /** What was saved as weights, the best first. */
  readonly exported: readonly { readonly path: string; readonly step: number; readonly why: string; readonly changes: boolean }[];
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
${tiles(run)}${verdictNote(run)}${exportNotes(run)}
${run.reported.length > 0 ? html`<h2>Where nothing chose it</h2>${reportedTable(run)}` : EMPTY}${pictures}
${frontSection(run)}
<h2>Training</h2><div class="plots">${curves(run)}</div>
<h2>Evaluations</h2><p class="muted">Of ${setText(run.selectedOn)}.</p>${evaluationTable(run)}
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
const percent = (x: number): string => `${Math.round(100 * x)}%`;
const kept = (from: Evaluation, to: { readonly diversity?: number | undefined }): string =>
  (from.diversity === undefined || to.diversity === undefined ? '–' : percent(to.diversity / from.diversity));

/** What the page tells first: where nothing chose the checkpoint, if that was measured. */
const headline = (run: RunReport): { base: Evaluation; tuned: Evaluation } => run.reported[0] ?? { base: base(run), tuned: best(run) };

function lead(run: RunReport): Html {
  if (run.verdict.best === 0) return html`<p class="lead">No evaluation was better than the base model's.</p>`;
  const { base: from, tuned: to } = headline(run);
  const judge = from.heldOutReward === undefined || to.heldOutReward === undefined ? ''
    : ` The independent judge's score went from ${numberText(from.heldOutReward)} to ${numberText(to.heldOutReward)}.`;
  const diverse = to.diversity === undefined ? '' : ` The images of one prompt are ${kept(from, to)} as diverse as before.`;
  const [first] = run.reported;
  const gain = (best(run).reward - base(run).reward) / run.rewardDeviation;
  const told = gainText(first ?? { gainInDeviations: Number.isFinite(gain) ? gain : null, gainError: null });
  const sure = intervalText(first?.changes?.gain);
  const unit = told === '' ? '' : ` (${told} standard deviations of the base model's images${sure === '' ? '' : `; ${sure} with 95% confidence`})`;
  const where = first ? html`Reported on ${setText(first.on)}; selected on ${setText(run.selectedOn)}.`
    : html`Selected and reported on the same images, which flatters it: ${setText(run.selectedOn)}.`;
  return html`<p class="lead">At step ${best(run).step}, the best, the reward is ${numberText(to.reward)} against
${numberText(from.reward)} before${unit}.${judge}${diverse}</p>
<p class="muted">${where}</p>`;
}

function tiles(run: RunReport): Html {
  const { base: from, tuned: to } = headline(run);
  const tile = (name: string, value: string, note: string): Html =>
    html`<div class="tile"><span>${name}</span><b>${value}</b><span>${note}</span></div>`;
  const before = (value: number): string => `${numberText(value)} before`;
  const heldOut = to.heldOutReward === undefined || from.heldOutReward === undefined ? EMPTY
    : tile(`Held out: ${judgeName(run)}`, numberText(to.heldOutReward), before(from.heldOutReward));
  const diverse = to.diversity === undefined || from.diversity === undefined ? EMPTY
    : tile('Diversity', kept(from, to), `${numberText(to.diversity)}, ${before(from.diversity)}`);
  const distance = to.frechet === undefined ? EMPTY
    : tile('Fréchet distance', numberText(to.frechet), 'to the base model\'s samples');
  return html`<div class="tiles">
${tile(`Reward: ${run.rewardName}`, numberText(to.reward), before(from.reward))}${heldOut}
${diverse}
${distance}</div>`;
}

/** Which rules there were, what lies where, and whether it does anything. */
function exportNotes({ guardNote, exported }: RunReport): Html {
  const missing = guardNote.missing === null ? EMPTY : html`<p class="note">${guardNote.active}; ${guardNote.missing}.</p>`;
  const notes = exported.map(({ path, step, why, changes }) => html`<li><code>${path}/</code> holds step ${step}. ${why}${
    changes ? '' : ' It has no effect: its pictures are the base model\'s.'}</li>`);
  return html`${missing}${notes.length > 0 ? html`<ul class="muted">${notes}</ul>` : EMPTY}`;
}

/** The best beside the base model where it was chosen, and elsewhere; measures that were not taken have no columns. */
function reportedTable(run: RunReport): Html {
  const parts = Object.keys(base(run).rewardParts ?? {});
  const columns: readonly (readonly [name: string, of: (e: Evaluation) => number | undefined, change?: keyof Changes])[] = [
    ['reward', (e) => e.reward], ...parts.map((name) => [name, (e: Evaluation) => e.rewardParts?.[name]] as const),
    [judgeName(run), (e) => e.heldOutReward, 'heldOut'], ['diversity', (e) => e.diversity, 'diversity'], ['Fréchet', (e) => e.frechet],
  ];
  const taken = columns.filter(([, of]) => of(base(run)) !== undefined);
  const rows = run.reported.flatMap((r) => [
    [`base, ${setText(r.on)}`, ...taken.map(([, of]) => orDash(of(r.base))), ''],
    ['best', ...taken.map(([, of]) => orDash(of(r.tuned))), gainText(r)],
    ...(r.changes && intervalText(r.changes.gain) !== ''
      ? [['change, 95% interval over prompts', ...taken.map(([, , change]) => (change ? intervalText(r.changes![change]) : '')), intervalText(r.changes.gain)]] : []),
  ]);
  return table(['', ...taken.map(([name]) => name), 'gain, deviations'], rows);
}

function verdictNote({ verdict: { stop } }: RunReport): Html {
  return stop ? html`<p class="note"><b>The guard stopped the run:</b> ${stop.reason}.</p>` : EMPTY;
}

const SIZE = { width: 400, height: 270 };
const chart = (series: readonly Series[], options: PlotOptions): Html =>
  new Html(plot(series, { ...SIZE, ...options }));
const guardLimits = (run: RunReport): { y: number; label: string }[] => {
  const { diversity } = base(run);
  return diversity === undefined ? [] : [{ y: run.guard.minDiversity * diversity, label: 'the guard\'s limit' }];
};
const labelled = (x: number, y: number | undefined, label: string | undefined): Point =>
  ({ x, y: y ?? NaN, ...(label !== undefined && { label }) });

function frontSection(run: RunReport): Html {
  const plots = [...(base(run).diversity === undefined ? [] : [front(run)]), ...strengthPlots(run)];
  if (plots.length === 0) return EMPTY;
  return html`<h2>What a gain costs</h2>
<p class="muted">Reward against diversity: up and to the right is better; a curve that falls steeply is a model that
learns to repeat itself.</p>
<div class="plots">${plots}</div>`;
}

function front(run: RunReport): Html {
  const named = new Map([[run.evaluations.length - 1, `step ${run.evaluations.at(-1)!.step}`],
    [run.verdict.best, `best, step ${best(run).step}`], [0, 'base']]);
  const checkpoints = run.evaluations.map((e, i) => labelled(e.reward, e.diversity, named.get(i)));
  // Strength 0 is the base model, which already has its name.
  const strengths = run.sweep.map(({ strength, reward, diversity }) =>
    labelled(reward, diversity, strength > 0 && Number.isInteger(2 * strength) ? `× ${strength}` : undefined));
  return chart([
    { name: 'training steps', points: checkpoints, marks: 'both' },
    { name: 'LoRA strength', points: strengths, marks: 'both', color: 1 },
  ], { title: 'Reward against diversity', x: run.rewardName, y: 'diversity', levels: guardLimits(run) });
}

function strengthPlots(run: RunReport): Html[] {
  if (run.sweep.length < 2) return [];
  const bySweep = (title: string, y: string, of: (s: Strength) => number | undefined, color: number): Html[] =>
    (run.sweep.every((s) => of(s) === undefined) ? []
      : [chart([{ name: y, color, marks: 'both', points: run.sweep.map((s) => ({ x: s.strength, y: of(s) ?? NaN })) }],
        { title, x: 'LoRA strength', y })]);
  return [
    ...bySweep('Reward by LoRA strength', run.rewardName, (s) => s.reward, 0),
    ...bySweep('Diversity by LoRA strength', 'mean pairwise distance', (s) => s.diversity, 2),
    ...bySweep('Held-out reward by LoRA strength', judgeName(run), (s) => s.heldOutReward, 1),
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
  const has = (name: 'heldOutReward' | 'diversity' | 'frechet'): boolean => run.evaluations.some((e) => e[name] !== undefined);
  return [
    chart([...noisy('batches', steps((s) => s.reward), 0), dots('evaluated', 4, (e) => e.reward)],
      { title: 'Reward', x, y: run.rewardName }),
    ...(has('heldOutReward') ? [chart([heldOut], { title: 'Held-out reward', x, y: `${judgeName(run)}, ± standard error` })] : []),
    ...(has('diversity') ? [chart([dots('diversity', 2, (e) => e.diversity)],
      { title: 'Diversity', x, y: 'mean pairwise distance within a prompt', levels: guardLimits(run) })] : []),
    ...(has('frechet') ? [chart([dots('Fréchet distance', 3, (e) => e.frechet)],
      { title: 'Fréchet distance', x, y: 'to the base model\'s samples' })] : []),
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

type Column<R> = readonly [head: string, of: (row: R) => string];

/** @param columns null: that was not measured */
function columnTable<R>(rows: readonly R[], columns: readonly (Column<R> | null)[], best?: number): Html {
  const there = columns.filter((c) => c !== null);
  return table(there.map(([head]) => head), rows.map((r) => there.map(([, of]) => of(r))), best);
}

function evaluationTable(run: RunReport): Html {
  const from = base(run);
  const where = (measure: unknown, ...column: Column<Evaluation>): Column<Evaluation> | null => (measure === undefined ? null : column);
  const name = (e: Evaluation): string => (e === from ? 'base model' : `step ${e.step}${e === best(run) ? ', best' : ''}`);
  return columnTable(run.evaluations, [
    ['', name],
    ['reward', (e) => numberText(e.reward)],
    ...Object.keys(from.rewardParts ?? {}).map((part): Column<Evaluation> => [part, (e) => orDash(e.rewardParts?.[part])]),
    where(from.heldOutReward, 'held-out', (e) => orDash(e.heldOutReward)),
    where(from.diversity, 'diversity', (e) => orDash(e.diversity)),
    where(from.diversity, 'of the base', (e) => kept(from, e)),
    where(from.frechet, 'Fréchet', (e) => orDash(e.frechet)),
  ], run.verdict.best);
}

function sweepTable(run: RunReport): Html {
  const from = base(run);
  return columnTable(run.sweep, [
    ['strength', (s) => `× ${s.strength}`],
    ['reward', (s) => numberText(s.reward)],
    from.heldOutReward === undefined ? null : ['held-out', (s) => orDash(s.heldOutReward)],
    from.diversity === undefined ? null : ['diversity', (s) => orDash(s.diversity)],
    from.diversity === undefined ? null : ['of the base', (s) => kept(from, s)],
  ]);
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
