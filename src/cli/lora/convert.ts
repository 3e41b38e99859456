/** @file `attune lora convert` and `attune lora scale`: a LoRA in, a LoRA out. */
import { Argument, Command, Option } from 'commander';
import { shown } from '../../formats/errors.js';
import type { LoraDialect } from '../../formats/lora-file.js';
import type { LoraFile } from '../../formats/lora.js';
import type { StoredType } from '../../graph/dtype.js';
import { loraAs, scaledLora } from '../../sampling/lora-edit.js';
import { parseNumber, UsageError } from '../arguments.js';
import { loadLora } from '../load-model.js';
import { terminalProgress } from '../terminal.js';
import { checkExport, dialectOption, dtypeOption, exportLora, sameDialect, tellExport } from './export.js';

const input = (): Argument =>
  new Argument('<file>', 'LoRA of any dialect: .safetensors, .pt, .bin, a folder of PEFT or diffusers, or hub id');

interface ConvertFlags {
  to: LoraDialect;
  out: string;
  base?: string;
  dtype?: StoredType;
  json?: boolean;
}

export function convertCommand(): Command {
  return new Command('convert')
    .description('Write a LoRA in another dialect, and check it by reading it back.')
    .addArgument(input())
    .addOption(dialectOption().makeOptionMandatory())
    .requiredOption('--out <path>', 'file to write; for peft a folder')
    .addOption(new Option('--base <family>', 'the model that it was made for, where the file does not tell')
      .choices(['sd1', 'sd2', 'sdxl']))
    .addOption(dtypeOption('number format (default: as it is)'))
    .option('--json', 'the result as JSON')
    .addHelpText('after', `
Example:
  attune lora convert pytorch_lora_weights.safetensors --to kohya --out style.safetensors --dtype float16
`)
    .action(async (path: string, { to, out, base, dtype, json }: ConvertFlags) => {
      await checkExport(out, to);
      const progress = terminalProgress(false);
      const lora = withBase(path, (await loadLora(path, progress)).lora, base);
      if (lora.baseModel === undefined) {
        progress.warn(`${path} does not tell which model it was made for, and programs may take it for one of SD 1.x; ` +
          'give --base');
      }
      if (lora.embeddings && to !== 'kohya') {
        progress.warn(`${path}: its embeddings (${lora.embeddings.size}) have no place in the dialect ${to}`);
      }
      tellExport(await exportLora(out, lora, dtype ? loraAs(lora, dtype) : lora, to), json === true);
    });
}

/** @throws UsageError if the file tells another base model */
function withBase(path: string, lora: LoraFile, base: string | undefined): LoraFile {
  if (base === undefined || lora.baseModel === base) return lora;
  if (lora.baseModel === undefined) return { ...lora, baseModel: base };
  throw new UsageError(`${path} was made for ${shown(lora.baseModel)}, not ${base}; leave out --base`);
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
      await checkExport(out);
      const reading = await loadLora(path, terminalProgress(false));
      await checkExport(out, sameDialect(reading));
      const scaled = scaledLora(reading.lora, by);
      tellExport(await exportLora(out, scaled, scaled, sameDialect(reading)), json === true);
    });
}
