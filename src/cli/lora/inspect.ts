/** @file `attune lora inspect`: what a LoRA file is, for which model, and how much it changes where. */
import { Command } from 'commander';
import { shown } from '../../formats/errors.js';
import type { LoraReading } from '../../formats/lora-file.js';
import { hasEffect, rankOf } from '../../formats/lora.js';
import { readLora } from '../../formats/lora-file.js';
import { leftOut, leftOutText } from '../../formats/lora-dialects/left-out.js';
import { findLora } from '../../loading/find-lora.js';
import { misfits } from '../../sampling/lora-apply.js';
import { loraEffects, totalEffect } from '../../sampling/lora-effect.js';
import type { LayerEffect } from '../../sampling/lora-effect.js';
import { loadModel } from '../load-model.js';
import { withLoadFlags } from '../option-values.js';
import type { ModelFlags } from '../option-values.js';
import { table } from '../table.js';
import { terminalProgress } from '../terminal.js';

interface Flags extends ModelFlags {
  model?: string;
  all?: boolean;
  json?: boolean;
}

/** Layers and keys that are shown without `--all`. */
const FEW = 12;

/** Metadata that tells people what a LoRA is; training tools write some fifty entries more. */
const HIGHLIGHTS = new RegExp(`^(${[
  'attune', 'modelspec\\.(title|description|author|date|architecture|resolution|prediction_type|trigger_phrase)',
  'ss_(output_name|sd_model_name|base_model_version|network_(module|dim|alpha)|learning_rate|steps|epoch|seed)',
].join('|')})`);

/** What a layer is within its block: `attn1.to_q`, `ff.net.0.proj`, `self_attn.q_proj`. */
const kindOf = (path: string): string =>
  path.replace(/^.*\.(transformer_blocks|resnets|attentions|layers|down_blocks|up_blocks)\.\d+\./, '');

/** How often each value occurs, the commonest first. */
function counted<T>(values: Iterable<T>): [value: T, count: number][] {
  const counts = new Map<T, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].toSorted((a, b) => b[1] - a[1]);
}

const listed = (counts: readonly (readonly [unknown, number])[]): string =>
  (counts.length === 1 ? `${String(counts[0]![0])}` : counts.map(([value, n]) => `${String(value)} (${n})`).join(', '));

const number = (x: number): string => String(Number(x.toPrecision(3)));

/** Cells for a change and, where the weights are known, its share of them. */
function effectCells({ change, weight }: Omit<LayerEffect, 'path'>): string[] {
  return [number(change), weight === undefined ? '' : `${number((100 * change) / weight)} %`];
}

interface Report extends LoraReading {
  file: string;
  effects: LayerEffect[];
  /** Problems with the model it was held against; undefined without one. */
  misfits?: string[];
}

const share = (change: number, weight?: number): { relative?: number } =>
  (weight === undefined ? {} : { relative: change / weight });

/** Shapes of bundled embeddings by token and text encoder. */
const embeddingsOf = ({ embeddings = new Map() }: LoraReading['lora']): Record<string, Record<string, readonly number[]>> =>
  Object.fromEntries([...embeddings].map(([token, parts]) =>
    [token, Object.fromEntries([...parts].map(([encoder, { shape }]) => [encoder, shape]))]));

const embeddingLines = (lora: LoraReading['lora']): string[] =>
  Object.entries(embeddingsOf(lora)).map(([token, parts]) =>
    `${token}: ${Object.entries(parts).map(([encoder, [n, width]]) => `${n} x ${width} for ${encoder}`).join(', ')}`);

function asJson({ file, lora, dialect, unknown, missing, effects, misfits: problems }: Report): string {
  const layers = effects.map(({ path, change, weight }) => {
    const layer = lora.layers.get(path)!;
    return { path, rank: rankOf(layer), alpha: layer.alpha, change, ...share(change, weight) };
  });
  const { change, weight } = totalEffect(effects);
  return JSON.stringify({
    file, dialect, baseModel: lora.baseModel ?? null, layers,
    total: { change, ...share(change, weight) },
    leftOut: leftOut({ unknown, missing }), embeddings: embeddingsOf(lora),
    missing, unknown, ...(problems && { misfits: problems }), metadata: lora.metadata,
  });
}

function asText(report: Report, all: boolean): string {
  const { file, lora, dialect, unknown, missing, effects, misfits: problems } = report;
  const few = <T>(items: readonly T[]): readonly T[] => (all ? items : items.slice(0, FEW));
  const more = (items: readonly unknown[]): string[] =>
    (items.length > few(items).length ? [`  … ${items.length - FEW} more (--all)`] : []);
  const layers = [...lora.layers.values()];
  const left = leftOutText(report);
  const paths = [...lora.layers.keys()];
  const kinds = new Map(counted(paths.map(kindOf)));
  const highlights = Object.entries(lora.metadata)
    .filter(([key, value]) => (all || HIGHLIGHTS.test(key)) && value !== 'None')
    .map(([key, value]) => [`  ${shown(key)}`, shown(value)]);
  const section = (title: string, items: readonly string[]): string[] =>
    (items.length === 0 ? [] : ['', `${title}:`, ...few(items).map((item) => `  ${shown(item)}`), ...more(items)]);
  return [
    ...table([
      ['file', file],
      ['dialect', dialect],
      ['base model', shown(lora.baseModel ?? 'unknown')],
      ['layers', `${layers.length}: ${listed(counted(paths.map((path) => path.slice(0, path.indexOf('.')))))}`],
      ...(left === undefined ? [] : [['left out', left]]),
      ['rank', listed(counted(layers.map(rankOf)))],
      ['alpha', listed(counted(layers.map((layer) => layer.alpha)))],
      ['numbers', listed(counted(layers.flatMap(({ down, up }) => [down.dtype, up.dtype])))],
      ...(problems ? [['fits the model', fit(problems.length, layers.length)]] : []),
    ]),
    ...section('layers that do not fit the model', problems ?? []),
    ...section('embeddings that it brings along', embeddingLines(lora)),
    ...section('layers left out because a part is missing', missing),
    ...section('keys left out because they are not understood', unknown),
    ...(highlights.length > 0 ? ['', 'metadata:', ...table(highlights)] : []),
    '',
    'size of the change ‖ΔW‖ at strength 1, and its share of ‖W‖ (which --model gives):',
    ...table([
      ...[...kinds].map(([kind, count]) => {
        const own = effects.filter(({ path }) => kindOf(path) === kind);
        return [`  ${shown(kind)} (${count})`, ...effectCells(totalEffect(own))];
      }),
      ['  total', ...effectCells(totalEffect(effects))],
    ]),
    ...(hasEffect(lora) ? [] : ['  this LoRA has no effect: all its changes are zero']),
    '',
    'layers, the most changed first:',
    ...table(few(effects).map((e) => [`  ${shown(e.path)}`, ...effectCells(e)])),
    ...more(effects),
    '',
  ].join('\n');
}

const fit = (problems: number, layers: number): string =>
  (problems === 0 ? 'yes' : `no: ${problems} of ${layers} layers do not`);

async function run(file: string, flags: Flags): Promise<void> {
  const reading = await readLora(await findLora(file));
  const pipeline = flags.model === undefined ? null : await loadModel(flags.model, terminalProgress(false), flags);
  const report: Report = {
    ...reading,
    file,
    effects: await loraEffects(reading.lora, pipeline?.weights),
    ...(pipeline && { misfits: misfits(reading.lora, pipeline.weights) }),
  };
  process.stdout.write(flags.json ? `${asJson(report)}\n` : asText(report, flags.all === true));
}

export function inspectCommand(): Command {
  return withLoadFlags(new Command('inspect')
    .description('Explain a LoRA: base model, dialect, rank, targets, what is missing or unknown, effect by layer.')
    .argument('<file>', 'LoRA of any dialect: .safetensors, .pt, .bin, a folder of PEFT or diffusers, or hub id')
    .option('--model <name>', 'model to hold it against: does it fit, how large are the changes beside its weights'))
    .option('--all', 'every layer, key and metadata entry')
    .option('--json', 'the result as JSON')
    .addHelpText('after', '\nExample:\n  attune lora inspect runs/first/lora/kohya.safetensors --model emoji\n')
    .action(run);
}
