/** @file `attune runs sweep`: pictures of a run's LoRA at several strengths, as its own evaluations have them. */
import { Command } from 'commander';
import { sweep } from '../../training/kept-session.js';
import { parseNumber, UsageError } from '../arguments.js';
import { wholeNumber } from '../option-values.js';
import { inLine } from '../output.js';
import { stopSignal } from '../supervise.js';
import { terminalProgress } from '../terminal.js';
import { chosenRun } from './choose.js';

const several = (text: string): number[] => text.split(',').map((part) => parseNumber(part.trim()));

export function sweepCommand(): Command {
  return new Command('sweep')
    .description('Make pictures of a run\'s LoRA of a step at several strengths, on the prompts and noise of its evaluations. What is there is not made again.')
    .argument('<run>', 'its folder, or its name in runs/')
    .requiredOption('--step <n>', 'a checkpoint, the best evaluation, or what was saved', wholeNumber(1))
    .requiredOption('--strengths <x,y,…>', 'also negative and above 1: --strengths=-0.5,0.5,1.5', several)
    .option('--prompts <n>', 'of so many prompts, one picture each', wholeNumber(1), 8)
    .option('--quiet', 'no progress')
    .action(async (name: string, { step, strengths, prompts, quiet }: { step: number; strengths: number[]; prompts: number; quiet?: boolean }) => {
      if (strengths.length > 24) throw new UsageError('--strengths: 24 are the most');
      const folder = await chosenRun(name);
      const made = await sweep(folder, step, strengths, prompts, terminalProgress(quiet === true), stopSignal);
      process.stdout.write(`${made} pictures made, in ${inLine(folder)}/samples\n`);
    });
}
