/** @file `attune runs show`: one run in full, from its log. */
import { join } from 'node:path';
import { exists } from '../../formats/exists.js';
import { Command } from 'commander';
import { measuresOf, measureText } from '../../evaluation/measures.js';
import { withoutSecrets } from '../../formats/url-secrets.js';
import { overviewOf } from '../../runs/overview.js';
import type { Overview } from '../../runs/overview.js';
import type { Standing } from '../../runs/state.js';
import { inLine } from '../output.js';
import { table } from '../table.js';
import { bestText, chosenRun, dateText, facts, number, stateText } from './choose.js';

/** Warnings that are shown; the log has them all. */
const FEW = 5;

/** Evaluations as a table, without columns that nobody measured. */
function evaluationLines({ base, best, last }: Overview): string[] {
  const shown = ([['base', base], ['best', best], ['last', last]] as const).flatMap(([name, e]) => (e ? [{ name, e }] : []));
  const columns = measuresOf(shown.map(({ e }) => e));
  return shown.length === 0 ? ['No evaluation yet.'] : table([
    ['', 'step', ...columns.map(({ head }) => head)],
    ...shown.map(({ name, e }) => [name, String(e.step), ...columns.map(({ name: key, share }) => (share ? measureText(key, e[key]) : number(e[key])))]),
  ]);
}

async function told(run: Overview & { standing: Standing }): Promise<string> {
  const { folder, settings, guard, began, time, best, standing: { view } } = run;
  const spent = view?.rows.at(-1);
  const resumed = (view?.opened.length ?? 1) - 1;
  const lines: [string, string][] = [
    ['Run', folder],
    ['State', stateText(run)],
    ['Method', `${settings.method.name} on ${settings.model}, seed ${settings.seed}`],
    ['Rewards', settings.rewards.join(' + ') || '–'],
    ['Begun', `${began === null ? 'not known' : dateText(began)}; last heard of ${dateText(time)}${resumed > 0 ? `; gone on with ${resumed} time(s)` : ''}`],
    ...(view?.phase && run.state === 'running' ? [['Doing', `${view.phase.text}${view.progress ? ` ${view.progress.done}/${view.progress.total} ${view.progress.detail}` : ''}`] satisfies [string, string]] : []),
    ...(spent ? [['Spent', `${number(spent.seconds)} s of training, ${spent.rewardQueries ?? '–'} reward queries, ${spent.denoiserCalls ?? '–'} denoiser calls`] satisfies [string, string]] : []),
    ['Best', bestText(best)],
    ['Guard', guard ?? (run.last && run.last.step > 0 ? 'nothing to object to' : 'no verdict yet')],
  ];
  const report = join(folder, 'report.html');
  if (await exists(report)) lines.push(['Report', report]);
  else if (run.state === 'stopped' || run.state === 'crashed') lines.push(['Go on', settings.again ?? `attune train --resume ${folder}`]);
  const warnings = view?.warnings ?? [];
  return [
    ...table(lines.map(([name, text]) => [name, withoutSecrets(text)])), '', ...evaluationLines(run),
    ...(warnings.length > 0 ? ['', `${warnings.length} warning(s)${warnings.length > FEW ? `, the first ${FEW}` : ''}:`] : []),
    ...warnings.slice(0, FEW).map(({ text }) => `  ${inLine(withoutSecrets(text))}`), '',
  ].join('\n');
}

export function showCommand(): Command {
  return new Command('show')
    .description('A run in full: state and why, cost, base, best and last evaluation, the guard\'s word, warnings.')
    .argument('<run>', 'its folder, or its name in runs/')
    .option('--json', 'as JSON, with settings, all evaluations and pictures')
    .action(async (name: string, { json }: { json?: boolean }) => {
      const run = await overviewOf(await chosenRun(name));
      const { view } = run.standing;
      const full = {
        ...facts(run), settings: run.settings, evaluations: view?.evaluations ?? [], images: view?.images ?? [],
        checkpoints: view?.checkpoints ?? [], warnings: view?.warnings ?? [], opened: view?.opened ?? [], phase: view?.phase ?? null, progress: view?.progress ?? null,
      };
      process.stdout.write(json ? `${withoutSecrets(JSON.stringify(full))}\n` : await told(run));
    });
}
