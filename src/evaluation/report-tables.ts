/** @file The tables of a run's report: measures that were not taken have no columns. */
import { gainText, intervalText, setText } from './compared.js';
import type { Changes } from './compared.js';
import type { Evaluation } from './evaluation.js';
import type { Html } from './html.js';
import { html, table } from './html.js';
import { measuresOf, measureText, shareInterval } from './measures.js';
import type { MeasureName } from './measures.js';
import type { RunReport } from './report.js';
import { numberText } from './ticks.js';

type Column<R> = readonly [head: string, of: (row: R) => string];

const tableOf = <R>(rows: readonly R[], columns: readonly Column<R>[], best?: number): Html =>
  table(columns.map(([head]) => head), rows.map((r) => columns.map(([, of]) => of(r))), best);

/** What is kept of the base model's diversity. */
export const kept = (from: Pick<Evaluation, 'diversity'>, to: Pick<Evaluation, 'diversity'>): string =>
  (from.diversity === undefined || to.diversity === undefined ? '–' : `${Math.round((100 * to.diversity) / from.diversity)}%`);

/** A column for each measure that some row has, and for the parts of a sum of rewards. */
function measured<R extends Partial<Evaluation>>(rows: readonly R[], base: Evaluation): Column<R>[] {
  return measuresOf(rows).flatMap(({ name, head }): Column<R>[] => [
    [head, (r) => measureText(name, r[name])],
    ...(name === 'reward' ? Object.keys(base.rewardParts ?? {}).map((part): Column<R> =>
      [part, (r) => (r.rewardParts?.[part] === undefined ? '–' : numberText(r.rewardParts[part]))]) : []),
    ...(name === 'diversity' ? [['of the base', (r: R) => kept(base, r as Pick<Evaluation, 'diversity'>)] satisfies Column<R>] : []),
  ]);
}

export function evaluationTable({ evaluations, verdict }: RunReport): Html {
  const [from] = evaluations as [Evaluation];
  const name = (e: Evaluation): string => (e === from ? 'base model' : `step ${e.step}${e === evaluations[verdict.best] ? ', best' : ''}`);
  return tableOf(evaluations, [['', name], ...measured(evaluations, from)], verdict.best);
}

export function sweepTable({ sweep, evaluations }: RunReport): Html {
  return tableOf(sweep, [['strength', (s) => `× ${s.strength}`], ...measured(sweep, evaluations[0]!)]);
}

const CHANGED: Partial<Record<MeasureName, keyof Changes>> = { heldOutReward: 'heldOut', diversity: 'diversity' };

/** The best beside the base where it was not chosen, a table for each set, with the intervals of what changed. */
export function reportedTables({ reported }: RunReport): Html[] {
  const parts = Object.keys(reported[0]?.base.rewardParts ?? {});
  return reported.map((r) => {
    const columns = measuresOf([r.base, r.tuned]).flatMap(({ name, head }) => [
      { head, name, of: (e: Evaluation) => measureText(name, e[name]) },
      ...(name === 'reward' ? parts.map((part) => ({ head: part, name: null, of: (e: Evaluation) => (e.rewardParts?.[part] === undefined ? '–' : numberText(e.rewardParts[part])) })) : []),
    ]);
    const sure = (name: MeasureName | null): string => {
      if (name === 'winRate' || name === 'heldOutWinRate') return shareInterval(r.tuned, name);
      const change = name === null ? undefined : CHANGED[name];
      return change === undefined ? '' : intervalText(r.changes?.[change]);
    };
    const intervals = [...columns.map(({ name }) => sure(name)), intervalText(r.changes?.gain)];
    return html`<p class="muted">Of ${setText(r.on)}.</p>${table(['', ...columns.map(({ head }) => head), 'gain, deviations'], [
      ['base', ...columns.map(({ of }) => of(r.base)), ''],
      ['best', ...columns.map(({ of }) => of(r.tuned)), gainText(r)],
      ...(intervals.some((text) => text !== '') ? [['change, 95% interval over prompts', ...intervals]] : []),
    ])}`;
  });
}
