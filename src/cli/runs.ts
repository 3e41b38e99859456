/** @file `attune runs`: the runs of a folder, with the state of each; and looking at, comparing and removing them. */
import { Command } from 'commander';
import { withoutSecrets } from '../formats/url-secrets.js';
import { findRuns, overviewOf } from '../runs/overview.js';
import type { Overview } from '../runs/overview.js';
import { UsageError } from './arguments.js';
import { inLine } from './output.js';
import { bestText, facts, number, RUNS } from './runs/choose.js';
import { diffCommand } from './runs/diff.js';
import { exportCommand } from './runs/export.js';
import { removeCommand } from './runs/remove.js';
import { showCommand } from './runs/show.js';
import { sweepCommand } from './runs/sweep.js';
import { table } from './table.js';

/** A run that cannot be read is listed with what is wrong with it. */
type Listed = Overview | { readonly folder: string; readonly problem: string };

async function listed(folder: string): Promise<Listed> {
  try {
    return await overviewOf(folder);
  } catch (error) {
    return { folder, problem: error instanceof Error ? error.message : String(error) };
  }
}

const STATES = `
States, from the run's log (events.jsonl), its lock and the process that holds it:
  running   its process lives. Of another machine or container: it has given a sign of life in the last two minutes
  silent    of another machine or container, and it has given none for longer; it may still run
  stopped   it was asked to (Ctrl-C), and can go on; attune runs show RUN tells how
  crashed   its process is gone without a word, or with an error; attune runs show RUN tells which. It can go on too
  finished  all is done, or the guard stopped it
Trainings of attune pretrain are runs too, of the method "pretrain NETWORK".

Guard: ok, stopped (it ended the run), or objects (it would have, but guard.enabled is false or the run goes on).

Examples:
  attune runs
  attune runs show 2026-11-30T10-00-00-draft-lv
  attune runs diff runs/a runs/b
  attune runs sweep runs/a --step 40 --strengths=-0.5,0.5,1.5
  attune runs export runs/a --step 30 --strength 0.8 --to diffusers
  attune runs rm runs/a --yes
`;

function guardCell({ guard, guarded, last }: Overview): string {
  if (guard === null) return last && last.step > 0 ? 'ok' : '–';
  return guarded ? 'stopped' : 'objects';
}

async function list(folder: string, json: boolean): Promise<void> {
  const folders = await findRuns(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' && folder === RUNS) return [];
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') throw new UsageError(`there is no folder ${folder}`);
    throw error;
  });
  const all: Listed[] = [];
  for (const f of folders) all.push(await listed(f)); // one log in memory at a time
  const time = (run: Listed): number => ('problem' in run ? 0 : run.time);
  const runs = all.toSorted((a, b) => time(b) - time(a));
  if (json) {
    process.stdout.write(`${withoutSecrets(JSON.stringify(runs.map((run) => ('problem' in run ? run : facts(run)))))}\n`);
    return;
  }
  if (runs.length === 0) {
    process.stderr.write(`no runs in ${folder}/; attune train makes one, attune runs FOLDER looks elsewhere\n`);
    return;
  }
  const rows = runs.map((run) => ('problem' in run ? [run.folder, 'unreadable'] : [
    run.folder, run.state, run.settings.method.name, withoutSecrets(run.settings.rewards.join(' + ') || '–'), `${run.step}/${run.settings.steps}`,
    number(run.base?.reward), bestText(run.best), guardCell(run),
  ]));
  const lines = table([['run', 'state', 'method', 'rewards', 'steps', 'base', 'best', 'guard'], ...rows]);
  const problems = runs.flatMap((run) => ('problem' in run ? [inLine(withoutSecrets(run.problem))] : []));
  process.stdout.write(`${[...lines, ...(problems.length > 0 ? ['', ...problems] : [])].join('\n')}\n`);
}

export function runsCommand(): Command {
  const runs = new Command('runs')
    .description('List runs with state, best reward and the guard\'s verdict; show, compare and remove them, look at their LoRAs at other strengths, export them.')
    .argument('[folder]', 'where they lie, comparisons\' runs included', RUNS)
    .option('--json', 'as JSON')
    .addHelpText('after', STATES)
    .enablePositionalOptions()
    .action((folder: string, { json = false }: { json?: boolean }) => list(folder, json));
  for (const command of [showCommand(), diffCommand(), sweepCommand(), exportCommand(), removeCommand()]) {
    runs.addCommand(command.exitOverride().showHelpAfterError('(add --help for what is possible)'));
  }
  return runs;
}
