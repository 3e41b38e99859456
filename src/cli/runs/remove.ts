/** @file `attune runs rm`: removes runs, after it has asked. */
import { createInterface } from 'node:readline/promises';
import { Command } from 'commander';
import { checkRemovable, removeRun } from '../../runs/remove.js';
import { standingOf } from '../../runs/state.js';
import { UsageError } from '../arguments.js';
import { inLine, printable } from '../output.js';
import { chosenRun } from './choose.js';

/** @throws UsageError where nobody can be asked */
async function agreed(question: string): Promise<boolean> {
  if (!process.stdin.isTTY) throw new UsageError('removing asks first, and here nobody can be asked; give --yes');
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await terminal.question(`${printable(inLine(question))} [y/N] `).finally(() => terminal.close());
  return /^y(es)?$/i.test(answer.trim());
}

const MOST_NAMED = 5;

const named = (files: readonly string[]): string =>
  files.slice(0, MOST_NAMED).join(', ') + (files.length > MOST_NAMED ? ` and ${files.length - MOST_NAMED} more` : '');

export function removeCommand(): Command {
  return new Command('rm')
    .description('Remove runs for good: weights, checkpoints, pictures, log. Never a running one; files that no run writes are kept.')
    .argument('<run...>', 'their folders, or their names in runs/')
    .option('--yes', 'without asking')
    .action(async (names: string[], { yes = false }: { yes?: boolean }) => {
      const folders = await Promise.all(names.map(chosenRun));
      for (const folder of folders) {
        const others = await checkRemovable(folder);
        const { state } = await standingOf(folder, true).catch(() => ({ state: 'unreadable' }));
        if (state === 'running') throw new UsageError(`${folder} is running; stop it first, or wait for its end`);
        const question = `Remove ${folder} (${state})${others.length > 0 ? `, but for ${named(others)},` : ''} for good?`;
        if (!yes && !(await agreed(question))) continue;
        const kept = await removeRun(folder);
        process.stderr.write(`${printable(inLine(kept.length === 0 ? `removed ${folder}`
          : `removed the run in ${folder}; kept there, because no run writes it: ${named(kept)}`))}\n`);
      }
    });
}
