/** @file The report of a run: one self-contained page, a pure function of the run's numbers and pictures. */
import { gainText, intervalText, setText } from './compared.js';
import type { Compared, SetFacts } from './compared.js';
import type { Evaluation } from './evaluation.js';
import { constraintSection } from './constraint-section.js';
import type { ConstraintHistory } from './constraint-section.js';
import { gallery, GALLERY_SCRIPT } from './gallery.js';
import type { Pair, Strength } from './gallery.js';
import type { GuardOptions, Judged, Verdict } from './hacking-guard.js';
import { EMPTY, html, page } from './html.js';
import type { Html } from './html.js';
import { measuresOf, measureText, shareInterval } from './measures.js';
import { costPlots, curves } from './report-plots.js';
import { evaluationTable, kept, reportedTables, sweepTable } from './report-tables.js';
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
  readonly evaluations: readonly Judged[];
  readonly constraints?: readonly ConstraintHistory[];
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
  /** What is wrong with a Fréchet distance of so few images; null where nothing is. */
  readonly fewImages: string | null;
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
${run.reported.length > 0 ? html`<h2>Where nothing chose it</h2>${reportedTables(run)}` : EMPTY}${pictures}
${constraintSection(run.constraints ?? [], run.evaluations, run.verdict.best)}
${costs(run)}
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

/** A tile for each measure of the headline. */
function tiles(run: RunReport): Html {
  const { base: from, tuned: to } = headline(run);
  const before = (value: number | undefined): string => (value === undefined ? '' : `${numberText(value)} before`);
  const images = 'images with more than the base model\'s';
  const told: Partial<Record<keyof Evaluation, readonly [name: string, value: string, note: string]>> = {
    reward: [`Reward: ${run.rewardName}`, numberText(to.reward), before(from.reward)],
    winRate: ['Win rate', measureText('winRate', to.winRate), `${shareInterval(to, 'winRate')}, ${images}`],
    heldOutReward: [`Held out: ${judgeName(run)}`, measureText('heldOutReward', to.heldOutReward), before(from.heldOutReward)],
    heldOutWinRate: ['Win rate, held out', measureText('heldOutWinRate', to.heldOutWinRate), `${shareInterval(to, 'heldOutWinRate')}, ${images}`],
    diversity: ['Diversity', kept(from, to), `${measureText('diversity', to.diversity)}, ${before(from.diversity)}`],
    drift: ['Drift', measureText('drift', to.drift), `an image from the base model's; two of its own of one prompt are ${measureText('diversity', from.diversity)} apart`],
    driftLpips: ['Drift by LPIPS', measureText('driftLpips', to.driftLpips), 'an image from the base model\'s'],
  };
  const rest = { frechet: 'to the base model\'s samples', frechetInfinity: 'if there were infinitely many images', kid: 'to the base model\'s samples, unbiased' };
  const tile = ([name, value, note]: readonly [string, string, string]): Html => html`<div class="tile"><span>${name}</span><b>${value}</b><span>${note}</span></div>`;
  return html`<div class="tiles">${measuresOf([to]).map(({ name, title }) =>
    tile(told[name] ?? [title, measureText(name, to[name]), rest[name as keyof typeof rest]]))}</div>${
    run.fewImages === null || to.frechet === undefined ? EMPTY : html`<p class="muted">${run.fewImages}</p>`}`;
}

/** Which rules there were, what lies where, and whether it does anything. */
function exportNotes({ guardNote, exported }: RunReport): Html {
  const missing = guardNote.missing === null ? EMPTY : html`<p class="note">${guardNote.active}; ${guardNote.missing}.</p>`;
  const notes = exported.map(({ path, step, why, changes }) => html`<li><code>${path}/</code> holds step ${step}. ${why}${
    changes ? '' : ' It has no effect: its pictures are the base model\'s.'}</li>`);
  return html`${missing}${notes.length > 0 ? html`<ul class="muted">${notes}</ul>` : EMPTY}`;
}

function costs(run: RunReport): Html {
  const plots = costPlots(run);
  if (plots.length === 0) return EMPTY;
  return html`<h2>What a gain costs</h2>
<p class="muted">Reward against diversity: up and to the right is better; a curve that falls steeply is a model that
learns to repeat itself.</p>
<div class="plots">${plots}</div>`;
}

function verdictNote({ verdict: { stop } }: RunReport): Html {
  return stop ? html`<p class="note"><b>The guard stopped the run:</b> ${stop.reason}.</p>` : EMPTY;
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
