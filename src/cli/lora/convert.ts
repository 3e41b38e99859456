/** @file `attune lora convert` and `attune lora scale`: a LoRA in, a LoRA out. */
import { Argument, Command } from 'commander';
import type { LoraDialect } from '../../formats/lora-file.js';
import type { StoredType } from '../../models/component-files.js';
import { loraAs, scaledLora } from '../../sampling/lora-edit.js';
import { parseNumber } from '../arguments.js';
import { loadLora } from '../load-model.js';
import { terminalProgress } from '../terminal.js';
import { dialectOption, dtypeOption, exportLora, sameDialect, tellExport } from './export.js';

const input = (): Argument =>
  new Argument('<file>', 'LoRA of any dialect: .safetensors, .pt, or a folder of PEFT or diffusers');

interface ConvertFlags {
  to: LoraDialect;
  out: string;
  dtype?: StoredType;
  json?: boolean;
}

export function convertCommand(): Command {
  return new Command('convert')
    .description('Write a LoRA in another dialect, and check it by reading it back.')
    .addArgument(input())
    .addOption(dialectOption().makeOptionMandatory())
    .requiredOption('--out <path>', 'file to write; for peft a folder')
    .addOption(dtypeOption('number format (default: as it is)'))
    .option('--json', 'the result as JSON')
    .addHelpText('after', `
Example:
  attune lora convert pytorch_lora_weights.safetensors --to kohya --out style.safetensors --dtype float16
`)
    .action(async (path: string, { to, out, dtype, json }: ConvertFlags) => {
      const { lora } = await loadLora(path, terminalProgress(false));
      tellExport(await exportLora(out, lora, dtype ? loraAs(lora, dtype) : lora, to), json === true);
    });
}

interface ScaleFlags {
  by: number;
  out: string;
  json?: boolean;
}

export function scaleCommand(): Command {
  return new Command('scale')
    .description('Write a LoRA with its effect multiplied, so that strength 1 means what --by meant. Same dialect.')
    .addArgument(input())
    .requiredOption('--by <x>', 'factor; negative turns the effect round', parseNumber)
    .requiredOption('--out <path>', 'file to write; for peft a folder')
    .option('--json', 'the result as JSON')
    .addHelpText('after', '\nExample:\n  attune lora scale style.safetensors --by 0.7 --out style-70.safetensors\n')
    .action(async (path: string, { by, out, json }: ScaleFlags) => {
      const reading = await loadLora(path, terminalProgress(false));
      const scaled = scaledLora(reading.lora, by);
      tellExport(await exportLora(out, scaled, scaled, sameDialect(reading)), json === true);
    });
}
