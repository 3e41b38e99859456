/** @file `bench judge`: validates the default guard (self-alignment, the base U-Net's features) against the bundled judge. */
import { parseArgs } from 'node:util';
import { join } from 'node:path';
import { existsSync } from 'node:fs';
import { openInstruments } from './measure.js';
import type { MeasuredRun } from './measure.js';
import { writeJudgement } from './report.js';
import { makeRuns, RUNS } from './runs.js';

const USAGE = `npm run bench -- judge [--runs FOLDER] [--only-measure] [--out FOLDER] [MORE RUN FOLDERS]
--runs          where the runs are made; those that are there are not made again (default: runs/bench/judge)
--only-measure  makes no run, takes those that are done
--out           where table and plots go (default: runs/bench/judge/report)`;

export async function benchJudge(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args], allowPositionals: true,
    options: { runs: { type: 'string', default: 'runs/bench/judge' }, 'only-measure': { type: 'boolean', default: false }, out: { type: 'string' } },
  });
  const root = values.runs;
  if (!values['only-measure']) await makeRuns(root);
  const own = RUNS.map(({ name }) => join(root, name)).filter((folder) => existsSync(join(folder, 'summary.json')));
  if (own.length + positionals.length === 0) throw new Error(`there are no runs in ${root}\n${USAGE}`);
  const instruments = await openInstruments();
  const measured: MeasuredRun[] = [];
  try {
    for (const folder of [...own, ...positionals]) measured.push(await instruments.measure(folder));
  } finally {
    await instruments.release();
  }
  await writeJudgement(measured, values.out ?? join(root, 'report'));
}
