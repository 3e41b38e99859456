/** @file What a run leaves for others: LoRA files in the family's dialects (read back and compared), pictures, the report. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Compared, SetFacts } from '../evaluation/compared.js';
import type { ConstraintHistory } from '../evaluation/constraint-section.js';
import { deviation, evaluationSchema } from '../evaluation/evaluation.js';
import { fewImagesText } from '../evaluation/kid.js';
import { guardText, guardVerdict } from '../evaluation/hacking-guard.js';
import { renderReport } from '../evaluation/report.js';
import type { StepMetrics } from '../evaluation/report.js';
import { writeAtomic } from '../formats/atomic.js';
import { encodePng } from '../formats/image.js';
import { imageAt } from '../rewards/rows.js';
import { imageGrid } from '../formats/image-grid.js';
import { hasEffect } from '../formats/lora.js';
import type { LoraFile } from '../formats/lora.js';
import { readLora, writeLora } from '../formats/lora-file.js';
import { shellWord } from '../formats/shell-word.js';
import { toFloat32 } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { baseModelOf } from '../models/pipeline.js';
import type { LoraAdapter } from '../nn/lora.js';
import { savePipeline } from '../loading/save.js';
import { loraFromFile, loraToFile } from '../nn/lora-values.js';
import { GUIDANCE_NOTE } from '../sampling/defaults.js';
import type { Measured } from './evaluate.js';
import type { Swept } from './final.js';
import { loadParameters, values } from './parameters.js';
import { barePaths } from './paths.js';
import type { Session } from './session.js';
import type { MetricsRow } from '../runs/rows.js';
import type { Exported } from '../runs/summary.js';
import type { TrainResult } from './train.js';

/** File names below `lora/`; PEFT's is a folder. */
const FILES = {
  kohya: 'kohya.safetensors',
  diffusers: 'pytorch_lora_weights.safetensors',
  'diffusers-old': 'pytorch_lora_weights_old_names.safetensors',
  peft: 'peft',
} as const;

/** Folders below a run's: `best` weights and, where they are others, the `last`. */
const FOLDERS = {
  lora: { best: 'lora', last: 'lora-last' },
  full: { best: 'model', last: 'model-last' },
} as const;

export interface Written {
  /** Below the run's folder. */
  readonly folder: string;
  readonly files: readonly string[];
  /** False if they make the base model's pictures. */
  readonly changes: boolean;
}

/** The LoRA that the task has, with what tells how it came about. */
export function loraOf({ pipeline, config, manifest, task }: Session, adapter: LoraAdapter): LoraFile {
  const baseModel = baseModelOf(pipeline);
  const shared = barePaths(config);
  const metadata = {
    'attune.method': config.method.name,
    'attune.rewards': shared.rewards.join(' + '),
    [GUIDANCE_NOTE]: String(config.guidance),
    'attune.config': JSON.stringify(shared),
    'attune.manifest': JSON.stringify(manifest),
  };
  return loraToFile(adapter, task.parameters, { metadata, ...(baseModel === undefined ? {} : { baseModel }) });
}

/**
 * Writes the weights that the task has: a LoRA in every dialect of the family, or the full model in diffusers layout. Each LoRA file is
 * read back by its own names and compared; then the parameters of the task are those of the diffusers file, so that what
 * is measured and shown afterwards is what was saved.
 *
 * @param step updates done
 * @throws Error if a file does not give back what was written
 */
export async function writeWeights(session: Session, root: string, which: 'best' | 'last', step: number): Promise<Written> {
  const { task, pipeline, config } = session;
  const folder = FOLDERS[config.train][which];
  if (!task.adapter) {
    const tuned = [...task.parameters].map(([name, t]): [string, HostTensor] => [name.slice('tuned/'.length), t]);
    await savePipeline(join(root, folder), { ...pipeline, weights: new Map([...pipeline.weights, ...tuned]) }, 'float32');
    const base = new Map(tuned.map(([name]) => [name, toFloat32(pipeline.weights.get(name)!)]));
    const changes = tuned.some(([name, t]) => values(t).some((v, i) => v !== base.get(name)![i]));
    return { folder, files: [folder], changes };
  }
  const shared = barePaths(config);
  const lora = loraOf(session, task.adapter);
  const facts = {
    outputName: 'attune', title: `${config.method.name} on ${shared.rewards.join(' + ')}`, baseModelName: shared.model,
    learningRate: config.lr, seed: config.seed, steps: step, optimizer: 'AdamW',
  };
  const files: string[] = [];
  for (const dialect of pipeline.family.lora.dialects) {
    const path = join(root, folder, FILES[dialect]);
    await writeLora(path, lora, dialect, { facts, targets: { [pipeline.family.denoiser.part]: config.lora.targets } });
    const back = loraFromFile(task.adapter, (await readLora(path)).lora, path);
    const worst = largestChange(task.parameters, back);
    if (!(worst <= 1e-5)) { // NaN too
      await rm(path, { recursive: true, force: true });
      throw new Error(`${path} does not give back the LoRA (off by ${worst}); it was removed. Please report this.`);
    }
    if (dialect === 'diffusers') loadParameters(task.parameters, back);
    files.push(join(folder, FILES[dialect]));
  }
  return { folder, files, changes: hasEffect(lora) };
}

/** NaN if either holds one. */
function largestChange(a: ReadonlyMap<string, HostTensor>, b: ReadonlyMap<string, HostTensor>): number {
  let worst = 0;
  for (const [name, t] of a) {
    const other = b.get(name);
    if (!other) return Infinity;
    const [x, y] = [values(t), values(other)];
    for (let i = 0; i < x.length; i++) worst = Math.max(worst, Math.abs(x[i]! - y[i]!));
  }
  return worst;
}

/** Pairs of pictures that the report and the before/after sheet show. */
const SHOWN = 24;

/** `before-after.png`: the same prompts and seeds, base model above, tuned model below. */
export async function beforeAfter(before: Measured, after: Measured): Promise<Buffer> {
  const { prompts } = before;
  const firsts = prompts.map((p, i) => (prompts.indexOf(p) === i ? i : -1)).filter((i) => i >= 0).slice(0, 8);
  const row = (m: Measured): HostTensor[] => firsts.map((i) => imageAt(m.images, i));
  const labels = [...firsts.map((i) => prompts[i]!), ...firsts.map(() => 'tuned')];
  return encodePng(await imageGrid([...row(before), ...row(after)], { columns: firsts.length, labels, minWidth: 128 }));
}

const png = (m: Pick<Measured, 'images'>, i: number): Promise<Buffer> => encodePng(imageAt(m.images, i));

/**
 * The `attune sample` command that makes evaluation pictures again but for `--prompt` and `--seed`, and what makes them
 * the tuned model's in `folder`; null where the evaluation samples with η above 0.
 */
export function remakeCommand({ config, pipeline, task }: Session, folder: string): { command: string; tuned: string } | null {
  if (config.evaluation.eta !== 0) return null;
  const words = [
    '--model', config.model,
    ...(['like', 'vae', 'prediction'] as const).flatMap((key) => (config[key] === undefined ? [] : [`--${key}`, config[key]])),
    '--sampler', 'ddim', '--sampling-steps', String(config.samplingSteps), '--guidance', String(config.guidance),
    ...(config.spacing === undefined ? [] : ['--spacing', config.spacing]),
    ...(config.negativePrompt === '' ? [] : ['--negative', config.negativePrompt]),
    ...(config.size === undefined ? [] : ['--size', String(config.size)]),
  ];
  const tuned = task.adapter ? ['--lora', join(folder, 'lora', FILES[pipeline.family.lora.dialects[0]!])] : ['--model', join(folder, 'model')];
  return { command: ['attune', 'sample', ...words].map(shellWord).join(' '), tuned: tuned.map(shellWord).join(' ') };
}

type UpdateRow = MetricsRow & StepMetrics;

/** Lines of updates; the first line is the base model's evaluation alone. */
const isUpdate = (row: MetricsRow): row is UpdateRow => row.reward !== undefined;

/** What the updates tell of a constraint. */
const updatesOf = (rows: readonly MetricsRow[], name: string): ConstraintHistory['updates'] => rows.flatMap((row) => {
  const [violation, multiplier] = [row[`violation/${name}`], row[`multiplier/${name}`]];
  return violation === undefined || multiplier === undefined ? [] : [{ step: row.step, violation, multiplier }];
});

/** What the report is made of beside the session. */
export interface Findings {
  readonly result: TrainResult;
  readonly rows: readonly MetricsRow[];
  readonly before: Measured;
  readonly after: Measured;
  readonly swept: readonly Swept[];
  readonly selectedOn: SetFacts;
  readonly reported: readonly Compared[];
  readonly exported: readonly Exported[];
  /** Files of weights. */
  readonly files: readonly string[];
}

/** Writes `report.html`. */
export async function writeReport(session: Session, folder: string, findings: Findings): Promise<void> {
  const { config, evaluator, objective } = session;
  const { result, rows, before, after, swept, selectedOn, reported, exported, files } = findings;
  const spread = [...before.prompts.keys()].filter((i) => i % Math.max(1, Math.floor(before.prompts.length / SHOWN)) === 0);
  const shown = spread.slice(0, SHOWN);
  const { heldOut } = evaluator.measures;
  const page = renderReport({
    title: `${config.method.name} on ${config.rewards.join(' + ')}${config.subjectTo.length > 0 ? `, subject to ${config.subjectTo.join(', ')}` : ''}`,
    rewardName: config.rewards.join(' + '),
    ...(heldOut === null ? {} : { heldOutName: heldOut }),
    rewardDeviation: deviation(before.rewards),
    steps: rows.filter(isUpdate),
    evaluations: result.evaluations,
    constraints: objective.constraints.map(({ name, text }) => ({ name, text, updates: updatesOf(rows, name) })),
    guard: config.guard,
    guardNote: guardText(evaluator.measures, config.guard),
    verdict: guardVerdict(result.evaluations, config.guard),
    selectedOn,
    reported,
    exported,
    pairs: await Promise.all(shown.map(async (i) => ({
      prompt: before.prompts[i]!, seed: config.evaluation.seed + i, base: await png(before, i), tuned: await png(after, i),
      rewards: [before.rewards[i]!, after.rewards[i]!] as const, drift: after.drifts?.[i],
    }))),
    // Of the images that the headline is of.
    fewImages: before.features && fewImagesText((reported[0]?.on ?? selectedOn).images, before.features.shape[1]!),
    remake: remakeCommand(session, folder),
    sweep: await Promise.all(swept.map(async ({ strength, measured: { evaluation, ...measured } }) => {
      const { step: _step, ...measures } = evaluationSchema.parse(evaluation);
      return { strength, ...measures, images: await Promise.all(shown.map((i) => png(measured, i))) };
    })),
    facts: Object.entries(session.manifest).map(([k, v]) => [k, typeof v === 'object' ? JSON.stringify(v) : String(v)] as const),
    config,
    files: [
      ...files.map((f) => [f, 'trained weights'] as const),
      ['events.jsonl', 'the log: all that happened, in order'],
      ['metrics.jsonl', 'every update and evaluation'],
      ['samples/', 'every evaluation picture by itself, and sheets of them'],
      ['config.yaml', 'the resolved configuration'],
      ['manifest.json', 'hashes, versions, seed'],
      ['checkpoints/', 'to go on with --resume'],
    ],
  });
  await writeAtomic(join(folder, 'report.html'), page);
}
