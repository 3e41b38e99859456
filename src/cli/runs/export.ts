/** @file `attune runs export`: the LoRA of any checkpoint that a run has, at any strength, in any dialect. */
import { join } from 'node:path';
import { Command } from 'commander';
import type { LoraDialect } from '../../formats/lora-file.js';
import { scaledLora } from '../../sampling/lora-edit.js';
import { loraOf } from '../../training/artifacts.js';
import { openKept } from '../../training/kept-session.js';
import { parseNumber } from '../arguments.js';
import { checkExport, dialectOption, exportLora, tellExport } from '../lora/export.js';
import { wholeNumber } from '../option-values.js';
import { stopSignal } from '../supervise.js';
import { terminalProgress } from '../terminal.js';
import { chosenRun } from './choose.js';

interface Flags {
  step: number;
  strength: number;
  to: LoraDialect;
  out?: string;
  json?: boolean;
  quiet?: boolean;
}

/** Where it goes by default: below the run, by what it is. */
const placeOf = (run: string, { step, strength, to }: Flags): string =>
  join(run, 'promoted', `step-${String(step).padStart(6, '0')}${strength === 1 ? '' : `-x${strength}`}-${to}${to === 'peft' ? '' : '.safetensors'}`);

export function exportCommand(): Command {
  return new Command('export')
    .description('Write the LoRA of a checkpoint of a run, whichever the guard chose, at a strength, and check it by reading it back.')
    .argument('<run>', 'its folder, or its name in runs/')
    .requiredOption('--step <n>', 'a checkpoint, the best evaluation, or what was saved', wholeNumber(1))
    .option('--strength <x>', 'what strength 1 of the file is to mean', parseNumber, 1)
    .addOption(dialectOption().default('kohya'))
    .option('--out <path>', 'file to write; for peft a folder (default: in the run\'s promoted/)')
    .option('--json', 'the result as JSON')
    .option('--quiet', 'no progress')
    .action(async (name: string, flags: Flags) => {
      const run = await chosenRun(name);
      const out = flags.out ?? placeOf(run, flags);
      await checkExport(out, flags.to);
      const session = await openKept(run, flags.step, terminalProgress(flags.quiet === true), stopSignal);
      try {
        const lora = scaledLora(loraOf(session, session.task.adapter!), flags.strength);
        tellExport(await exportLora(out, lora, lora, flags.to), flags.json === true);
      } finally {
        await session.release();
      }
    });
}
