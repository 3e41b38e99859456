/** @file `attune train`: reward fine-tuning of a text-to-image model. */
import { join } from 'node:path';
import { Command } from 'commander';
import type { Evaluation } from '../evaluation/hacking-guard.js';
import { writeAtomic } from '../formats/atomic.js';
import { beforeAfter, loadParameters, sweepStrengths, writeReport, writeWeights } from '../training/artifacts.js';
import { listCheckpoints } from '../training/checkpoint.js';
import { ConfigError, configSchema, environmentSettings, parseAssignment, readConfigFile, resolveConfig } from '../training/config.js';
import type { RunConfig } from '../training/config.js';
import { deviation } from '../training/evaluate.js';
import type { Measured } from '../training/evaluate.js';
import { openRunFolder, storedConfig } from '../training/run-folder.js';
import { openSession } from '../training/session.js';
import { saveGrid } from '../training/sheet.js';
import { train } from '../training/train.js';
import { parseNumber } from './arguments.js';
import { collect, likeOption } from './option-values.js';
import { stopRequested } from './supervise.js';
import { terminalProgress } from './terminal.js';

/** Flags that set a configuration field, by name. */
export interface TrainFlags {
  config?: string;
  set: string[];
  reward: string[];
  prompt: string[];
  [field: string]: unknown;
}

const FIELDS: Readonly<Record<string, string>> = {
  model: 'model', like: 'like', method: 'method.name', prompts: 'prompts', steps: 'steps', batch: 'batch', lr: 'lr', seed: 'seed',
  guidance: 'guidance', sampler: 'sampler', samplingSteps: 'samplingSteps', device: 'device', threads: 'threads',
};

/** The configuration of file, environment and flags, in that order. @throws ConfigError naming the field */
export async function configFromFlags(flags: TrainFlags): Promise<RunConfig> {
  const file = flags.config === undefined ? {} : await readConfigFile(flags.config);
  const given = Object.entries(FIELDS).flatMap(([flag, path]): [string, unknown][] =>
    flags[flag] === undefined ? [] : [[path, flags[flag]]]);
  if (flags.reward.length > 0) given.push(['rewards', flags.reward]);
  return resolveConfig(file, [...environmentSettings(process.env), ...given, ...flags.set.map(parseAssignment)]);
}

/** Adds the flags that `train`, `plan` and `eval` share. */
export function withRunFlags(command: Command): Command {
  return command
    .option('--config <file>', 'settings as YAML or JSON; flags win over it')
    .option('--model <name>', 'bundled name, diffusers folder, .safetensors checkpoint or hub id (default: emoji)')
    .addOption(likeOption())
    .option('--method <name>', 'see attune list methods (default: drtune)')
    .option('--reward <spec>', 'NAME[:weight][?option=value]; repeat to sum several (default: emoji-clip)', collect, [])
    .option('--prompts <name>', 'bundled list, or a .txt, .csv or .jsonl file (default: people)')
    .option('--steps <n>', `updates (default: ${configSchema.parse({}).steps})`, parseNumber)
    .option('--batch <n>', 'images an update', parseNumber)
    .option('--lr <x>', `learning rate (default: ${configSchema.parse({}).lr}, or 4e-4 for other models)`, parseNumber)
    .option('--guidance <x>', 'classifier-free guidance; 1 is none', parseNumber)
    .option('--sampler <name>', 'ddim, ddpm or dpm++2m-sde (default: ddim)')
    .option('--sampling-steps <n>', 'steps of the sampler', parseNumber)
    .option('--seed <n>', 'seed of everything', parseNumber)
    .option('--device <name>', 'cpu, webgpu or cuda')
    .option('--threads <n>', 'threads of one operator', parseNumber)
    .option('--set <key=value>', 'any setting by its dotted name, e.g. --set method.k=all (repeatable); attune list settings explains all', collect, []);
}

function defaultFolder(config: RunConfig): string {
  const stamp = new Date().toISOString().replace(/[:.]/g, '-').slice(0, 19);
  return join('runs', `${stamp}-${config.method.name}`);
}

interface OwnFlags extends TrainFlags {
  out?: string;
  resume?: string;
  json?: boolean;
  quiet?: boolean;
}

async function run(flags: OwnFlags): Promise<void> {
  const progress = terminalProgress(flags.quiet === true);
  const resume = flags.resume !== undefined;
  const config = resume ? await resumedConfig(flags) : await configFromFlags(flags);
  const path = flags.resume ?? flags.out ?? defaultFolder(config);
  const session = await openSession(config, progress);
  const folder = await openRunFolder(path, config, session.manifest, resume);
  try {
    const stepper = await session.method.create(session.task, session.methodOptions);
    const { task, prompts, evaluator } = session;
    const result = await train({ config, task, stepper, prompts, evaluator, folder, resume, progress, shouldStop: stopRequested });
    if (result.ended === 'interrupted') {
      progress.phase(`stopped at step ${result.step}; go on with: attune train --resume ${path}`);
      return;
    }
    if (typeof result.ended === 'object') progress.warn(`stopped early to avoid reward hacking: ${result.ended.guard}`);
    await stepper.release();
    progress.phase('writing the best weights, and measuring them at several strengths');
    loadParameters(task, result.bestParameters);
    const written = await writeWeights(session, path, result.evaluations[result.best]!.step);
    const swept = await sweepStrengths(session, result.evaluations[result.best]!.step, result.before);
    const at = (strength: number): Measured | undefined => swept.find((s) => s.strength === strength)?.measured;
    const tuned = at(1)!;
    const base = at(0) ?? result.before ?? tuned;
    await saveGrid(folder, tuned, tuned.evaluation.step);
    await writeAtomic(join(path, 'before-after.png'), await beforeAfter(base, tuned));
    await writeReport(session, path, result, await folder.rewind(result.step), base, tuned, swept, written);
    const summary = {
      folder: path, steps: result.step, base: base.evaluation, tuned: tuned.evaluation,
      gainInDeviations: (tuned.evaluation.reward - base.evaluation.reward) / deviation(base.rewards),
      rewardQueries: task.counts.rewardQueries, seconds: result.seconds, peakBytes: result.peakBytes, ended: result.ended,
      sweep: swept.map(({ strength, measured }) => ({ strength, ...measured.evaluation })),
      lora: written.map((w) => join(path, w)), report: join(path, 'report.html'),
    };
    await writeAtomic(join(path, 'summary.json'), `${JSON.stringify(summary, null, 2)}\n`);
    process.stdout.write(flags.json ? `${JSON.stringify(summary)}\n` : told(summary));
  } catch (error) {
    const saved = (await listCheckpoints(join(path, 'checkpoints'))).at(-1);
    if (saved !== undefined) progress.warn(`the run ends with an error; ${saved} is saved. Go on from it with: attune train --resume ${path}`);
    throw error;
  } finally {
    await folder.close();
    await session.release();
  }
}

async function resumedConfig(flags: OwnFlags): Promise<RunConfig> {
  const config = await storedConfig(flags.resume!);
  const changed = Object.keys(FIELDS).filter((f) => flags[f] !== undefined);
  if (changed.length > 0 || flags.set.length > 0 || flags.reward.length > 0 || flags.config !== undefined) {
    throw new ConfigError(`--resume goes on with the configuration in ${join(flags.resume!, 'config.yaml')}; leave out other settings, or start a new run`);
  }
  return config;
}

interface Summary {
  folder: string;
  gainInDeviations: number;
  base: Evaluation;
  tuned: Evaluation;
  lora: string[];
  report: string;
}

function told({ base, tuned, folder, report, lora, gainInDeviations }: Summary): string {
  const line = (name: string, a: number | undefined, b: number | undefined): string =>
    a === undefined || b === undefined ? '' : `  ${name.padEnd(20)} ${a.toFixed(4)} → ${b.toFixed(4)}\n`;
  const gain = `  ${gainInDeviations >= 0 ? '+' : ''}${gainInDeviations.toFixed(1)} standard deviations of the base model's images\n`;
  const parts = Object.entries(base.rewardParts ?? {}).map(([name, r]) => line(`  ${name}`, r, tuned.rewardParts?.[name]));
  return `${line('reward', base.reward, tuned.reward)}${gain}${parts.join('')}${line('held-out reward', base.heldOutReward, tuned.heldOutReward)}`
    + `${line('diversity', base.diversity, tuned.diversity)}LoRA     ${lora[0]}\nPictures ${join(folder, 'before-after.png')}\nReport   ${report}\n`;
}

export function trainCommand(): Command {
  return withRunFlags(new Command('train'))
    .description('Fine-tune a text-to-image model to a reward. Without arguments: the bundled model, in two minutes.')
    .option('--out <dir>', 'run folder (default: runs/<time>-<method>)')
    .option('--resume <dir>', 'go on with the run in this folder')
    .option('--json', 'the result as JSON')
    .option('--quiet', 'no progress')
    .action(run);
}
