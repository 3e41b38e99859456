/** @file The report's part on constraints: what was asked, whether it is kept, and how multipliers followed. */
import { brokenConstraints } from './hacking-guard.js';
import type { Judged } from './hacking-guard.js';
import { EMPTY, Html, html, table } from './html.js';
import { plot } from './plot.js';
import { numberText } from './ticks.js';

/** A constraint of a run, with what its updates tell. */
export interface ConstraintHistory {
  /** Of the reward. */
  readonly name: string;
  /** "self-alignment >= base", say. */
  readonly text: string;
  readonly updates: readonly { readonly step: number; readonly violation: number; readonly multiplier: number }[];
}

const SIZE = { width: 400, height: 270 };

/** @param best the index of the best evaluation */
export function constraintSection(constraints: readonly ConstraintHistory[], evaluations: readonly Judged[], best: number): Html {
  if (constraints.length === 0) return EMPTY;
  const [from, to] = [evaluations[0]!, evaluations[best]!];
  const value = (e: Judged, name: string): string => (e.rewardParts?.[name] === undefined ? '–' : numberText(e.rewardParts[name]));
  const rows = constraints.map(({ name, text, updates }) => {
    const shortfall = to.shortfalls?.[name];
    const error = shortfall?.error ?? null;
    return [
      text, value(from, name), value(to, name),
      shortfall ? `${numberText(shortfall.mean)}${error === null ? '' : ` ± ${numberText(error)}`}` : '–',
      brokenConstraints(to).includes(name) ? 'broken' : 'kept',
      updates.length === 0 ? '–' : numberText(updates.at(-1)!.multiplier),
    ];
  });
  const charts = constraints.flatMap(({ name, updates }, color) => (updates.length === 0 ? [] : [
    new Html(plot([{ name, color, points: updates.map(({ step, violation }) => ({ x: step, y: violation })) }],
      { ...SIZE, title: `Violation: ${name}`, x: 'step', y: 'deviations; above 0 it is broken', levels: [{ y: 0, label: 'the bound' }] })),
    new Html(plot([{ name, color, points: updates.map(({ step, multiplier }) => ({ x: step, y: multiplier })) }],
      { ...SIZE, title: `Multiplier: ${name}`, x: 'step', y: 'reward for a deviation' })),
  ]));
  return html`<h2>Constraints</h2>
<p class="muted">Short of the bound: by how much the best step's images are beyond it, image by image, ± standard error. A multiplier says
what the constraint costs: how much reward a deviation of it is worth.</p>
${table(['', 'base model', `best, step ${to.step}`, 'short of the bound', '', 'multiplier at the end'], rows)}
<div class="plots">${charts}</div>`;
}
