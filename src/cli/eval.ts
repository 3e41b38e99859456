/** @file `attune eval`: measures a model, with LoRAs or without, on fixed prompts and seeds. */
import { Command } from 'commander';
import { evaluationSchema } from '../evaluation/evaluation.js';
import type { Evaluation } from '../evaluation/evaluation.js';
import { fewImagesText } from '../evaluation/kid.js';
import { measuresOf, measureText, shareInterval } from '../evaluation/measures.js';
import { deferred } from '../host/resources.js';
import { parseRewards } from '../rewards/registry.js';
import { applyLoras } from '../sampling/lora-apply.js';
import { trainedGuidance } from '../sampling/defaults.js';
import type { Pipeline } from '../models/pipeline.js';
import type { RunConfig } from '../training/config.js';
import type { Measured } from '../training/evaluate.js';
import type { Progress } from '../runs/progress.js';
import { openMeasuring } from '../training/measuring.js';
import { loadLoras, loadModel } from './load-model.js';
import { collectLora, loraFlag } from './option-values.js';
import type { LoraArgument } from './option-values.js';
import { inLine } from './output.js';
import { stopSignal } from './supervise.js';
import { terminalProgress } from './terminal.js';
import { configFromFlags, withRunFlags } from './train.js';
import type { TrainFlags } from './train.js';

interface Flags extends TrainFlags {
  lora: LoraArgument[];
  json?: boolean;
  quiet?: boolean;
}

/** What a model measured. */
type Row = Evaluation & { readonly model: string };

async function run(flags: Flags): Promise<void> {
  const progress = terminalProgress(flags.quiet === true);
  const loras = await loadLoras(flags.lora, progress);
  const guidance = trainedGuidance(loras.map((l) => l.lora));
  const config = await configFromFlags(flags, guidance === undefined ? {} : { guidance });
  parseRewards(config.rewards); // its mistakes need not wait for the model
  const base = await loadModel(config.model, progress, { ...config, embedding: config.embeddings });
  progress.phase('measuring the base model');
  const before = await measured(config, base, null, progress);
  const rows: Row[] = [{ model: config.model, ...evaluationSchema.parse(before.evaluation) }];
  if (loras.length > 0) {
    progress.phase('measuring it with the LoRA');
    const { evaluation } = await measured(config, await applyLoras(base, loras), before, progress, base);
    rows.push({
      model: `${config.model} + ${loras.map((l) => `${l.where}:${l.strength}`).join(' + ')}`, ...evaluationSchema.parse(evaluation),
    });
  }
  const few = before.features && fewImagesText(...(before.features.shape as [number, number]));
  if (few && loras.length > 0) progress.warn(few);
  process.stdout.write(flags.json ? `${JSON.stringify(rows)}\n` : rows.map(told).join('\n'));
}

async function measured(
  config: RunConfig, pipeline: Pipeline, from: Measured | null, progress: Progress, base = pipeline,
): Promise<Measured> {
  const measuring = await openMeasuring(config, progress, { pipeline, base }, stopSignal);
  await using _ = deferred(() => measuring.release());
  return await measuring.evaluator.measure(0, from);
}

function told({ model, rewardParts = {}, ...measured }: Row): string {
  const line = (name: string, text: string): string => `  ${name.padEnd(36)} ${text}\n`;
  const lines = measuresOf([measured]).map(({ name, title }) => {
    const beside = name === 'heldOutReward' ? `± ${measured.heldOutError!.toFixed(4)}` : name === 'winRate' || name === 'heldOutWinRate' ? `(${shareInterval(measured, name)})` : '';
    const text = name === 'winRate' || name === 'heldOutWinRate' ? measureText(name, measured[name]) : measured[name]!.toFixed(4);
    return line(title, `${text} ${beside}`.trimEnd());
  });
  const parts = Object.entries(rewardParts).map(([name, value]) => line(`Reward ${name}`, value.toFixed(4)));
  return `${inLine(String(model))}\n${[...lines, ...parts].join('')}`;
}

export function evalCommand(): Command {
  return withRunFlags(new Command('eval'))
    .description('Measure reward, held-out reward and diversity of a model, and how far LoRAs take it from itself (win rate, drift, Fréchet and kernel distance), by default with the guidance that the LoRA was trained with.')
    .option(...loraFlag('compared with the base model; repeat to stack'), collectLora, [])
    .option('--json', 'the result as JSON')
    .option('--quiet', 'no progress')
    .addHelpText('after', '\nExample:\n  attune eval --lora runs/x/lora/kohya.safetensors:0.8 --set evaluation.prompts=20')
    .action(run);
}
