/** @file `attune lora merge`: LoRAs into a checkpoint, or several LoRAs into one. */
import { Command } from 'commander';
import type { LoraDialect } from '../../formats/lora-file.js';
import type { StoredType } from '../../graph/dtype.js';
import { loadPipeline } from '../../loading/load.js';
import { savePipeline } from '../../loading/save.js';
import { applyLoras } from '../../sampling/lora-apply.js';
import { joinLoras, loraAs } from '../../sampling/lora-edit.js';
import { compareWeights } from '../../sampling/read-back.js';
import { UsageError } from '../arguments.js';
import { loadLoras, loadModel } from '../load-model.js';
import { collectLora, loraFlag, withLoadFlags } from '../option-values.js';
import type { LoraArgument, ModelFlags } from '../option-values.js';
import { inLine } from '../output.js';
import { checkTarget, staged } from '../staged.js';
import { terminalProgress } from '../terminal.js';
import { checkExport, dialectOption, dtypeOption, exportLora, tellExport } from './export.js';

interface Flags extends ModelFlags {
  model?: string;
  lora?: LoraArgument[];
  out: string;
  to?: LoraDialect;
  dtype: StoredType;
  json?: boolean;
  quiet?: boolean;
}

async function mergeIntoModel(model: string, loras: readonly LoraArgument[], flags: Flags): Promise<void> {
  const { out, dtype } = flags;
  const progress = terminalProgress(flags.quiet === true);
  await checkTarget(out, 'folder');
  const uses = (await loadLoras(loras, progress)).map(({ lora: { embeddings, ...lora }, ...use }) => {
    if (embeddings) progress.warn(`${use.where}: its embeddings are left out of the merged model; their words mean nothing to it`);
    return { ...use, lora };
  });
  const pipeline = await loadModel(model, progress, flags);
  const merged = await applyLoras(pipeline, uses);
  const changed = [...merged.weights].filter(([name, value]) => pipeline.weights.get(name) !== value).length;
  const difference = await staged(out, 'folder', async (path) => {
    progress.phase(`writing ${out}`);
    await savePipeline(path, merged, dtype);
    progress.phase('reading it back');
    return compareWeights(merged.weights, (await loadPipeline(path)).weights, dtype);
  });
  process.stdout.write(flags.json
    ? `${JSON.stringify({ out, weights: merged.weights.size, changed, dtype, difference })}\n`
    : `${inLine(out)}\n${changed} of ${merged.weights.size} weights changed; read back, the largest difference is ` +
      `${Number(difference.toPrecision(2))} (${dtype})\n`);
}

async function joinIntoOne(loras: readonly LoraArgument[], flags: Flags): Promise<void> {
  const { out, to = 'kohya', dtype } = flags;
  if (loras.length < 2) {
    throw new UsageError('one LoRA alone: give --model to merge it into, or others to join it with');
  }
  await checkExport(out, to);
  const joined = joinLoras(await loadLoras(loras, terminalProgress(flags.quiet === true)));
  tellExport(await exportLora(out, joined, loraAs(joined, dtype), to), flags.json === true);
}

const EXAMPLES = `
Examples:
  attune lora merge --model emoji --lora runs/first/lora/kohya.safetensors:0.8 --out emoji-tuned
  attune lora merge --lora style.safetensors:0.5 --lora subject.safetensors --out both.safetensors
`;

export function mergeCommand(): Command {
  return withLoadFlags(new Command('merge')
    .description('Merge LoRAs into a model (a new folder in diffusers layout); without --model, several into one LoRA.')
    .option('--model <name>', 'bundled name, diffusers folder, single file (.safetensors, .ckpt) or hub id'))
    .option(...loraFlag('repeatable; scale 1 by default; also negative, above 1'), collectLora)
    .requiredOption('--out <path>', 'folder of the model, or file of the LoRA')
    .addOption(dialectOption().conflicts('model'))
    .addOption(dtypeOption('number format').default('float16'))
    .option('--json', 'the result as JSON')
    .option('--quiet', 'no progress')
    .addHelpText('after', EXAMPLES)
    .action((flags: Flags) => {
      const { lora, model } = flags;
      if (!lora) throw new UsageError('no LoRA; give --lora FILE[:scale] at least once');
      return model === undefined ? joinIntoOne(lora, flags) : mergeIntoModel(model, lora, flags);
    });
}
