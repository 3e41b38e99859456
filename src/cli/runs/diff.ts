/** @file `attune runs diff`: in what two runs differ, and what came of it. */
import { Command } from 'commander';
import { withoutSecrets } from '../../formats/url-secrets.js';
import { differencesOf } from '../../runs/differences.js';
import type { Differences } from '../../runs/differences.js';
import { overviewOf } from '../../runs/overview.js';
import { table } from '../table.js';
import { chosenRun, number } from './choose.js';

const cell = (value: unknown): string => withoutSecrets(value === undefined ? 'not set' : typeof value === 'string' ? value : JSON.stringify(value));
const result = (value: number | string | null): string => (typeof value === 'string' ? value : number(value));
const digest = (value: string | undefined): string => (value === undefined ? 'not known' : /^[0-9a-f]{64}$/.test(value) ? value.slice(0, 12) : value);

function told(a: string, b: string, { settings, inputs, results }: Differences): string {
  const part = (title: string, rows: readonly (readonly [string, string, string])[]): string[] =>
    (rows.length === 0 ? [`${title}: the same.`, ''] : [...table([[title, a, b], ...rows]), '']);
  return [
    ...part('Settings', settings.map(([name, x, y]) => [name, cell(x), cell(y)] as const)),
    ...part('Inputs', inputs.map(([name, x, y]) => [name, digest(x), digest(y)] as const)),
    ...part('Results', results.map(([name, x, y]) => [name, result(x), result(y)] as const)),
  ].join('\n');
}

export function diffCommand(): Command {
  return new Command('diff')
    .description('Two runs beside each other: the settings and inputs (weights, files, versions) that differ, and the results.')
    .argument('<a>', 'a run: its folder, or its name in runs/')
    .argument('<b>', 'the other one')
    .option('--json', 'as JSON')
    .action(async (a: string, b: string, { json }: { json?: boolean }) => {
      const [one, other] = await Promise.all([chosenRun(a), chosenRun(b)]);
      const differences = await differencesOf(await overviewOf(one), await overviewOf(other));
      process.stdout.write(json ? `${withoutSecrets(JSON.stringify({ a: one, b: other, ...differences }))}\n` : told(one, other, differences));
    });
}
