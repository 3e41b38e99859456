/** @file `attune train`: reward fine-tuning of a text-to-image model. */
import { join } from 'node:path';
import { Command } from 'commander';
import { gainText, setText } from '../evaluation/compared.js';
import type { Compared } from '../evaluation/compared.js';
import type { Evaluation } from '../evaluation/evaluation.js';
import { ConfigError } from '../formats/errors.js';
import { checkWritable } from '../formats/writable.js';
import { familyOf } from '../loading/load.js';
import { FIELDS } from '../training/command-line.js';
import { configSchema, environmentSettings, parseAssignment, readConfigFile, resolveConfig } from '../training/config.js';
import type { RunConfig } from '../training/config.js';
import { recipePath } from '../training/recipes.js';
import { runTraining } from '../training/run.js';
import { storedConfig } from '../training/stored-config.js';
import type { Summary } from '../runs/summary.js';
import { parseNumber } from './arguments.js';
import { collect, withLoadFlags, withPrecisionFlag, withTextFlags } from './option-values.js';
import { Interrupted, stopSignal, tellRun } from './supervise.js';
import { terminalProgress } from './terminal.js';

/** Flags that set a configuration field, by name. */
export interface TrainFlags {
  config?: string;
  recipe?: string;
  set: string[];
  reward: string[];
  subjectTo: string[];
  [field: string]: unknown;
}

/** Fields that a run that goes on may have otherwise: they change no more than rounding. */
const PLACE = new Set(['device', 'threads', 'workers', 'microbatch', 'memory']);

/** The configuration of `start`, file, environment and flags, in that order. @throws ConfigError naming the field */
export async function configFromFlags(flags: TrainFlags, start: Partial<RunConfig> = {}): Promise<RunConfig> {
  const published = flags.recipe === undefined ? {} : await readConfigFile(await recipePath(flags.recipe));
  const file = { ...start, ...published, ...(flags.config === undefined ? {} : await readConfigFile(flags.config)) };
  const given = Object.entries(FIELDS).flatMap(([flag, path]): [string, unknown][] =>
    flags[flag] === undefined ? [] : [[path, flags[flag]]]);
  if (flags.reward.length > 0) given.push(['rewards', flags.reward]);
  if (flags.subjectTo.length > 0) given.push(['subjectTo', flags.subjectTo]);
  const settings = [...environmentSettings(process.env), ...given, ...flags.set.map(parseAssignment)];
  const { model, like } = resolveConfig(file, settings); // mistakes are told before a model is looked at
  return resolveConfig(file, settings, await familyOf(model, like));
}

/** Adds the flags that `train`, `plan` and `eval` share. */
export function withRunFlags(command: Command): Command {
  return withPrecisionFlag(withTextFlags(withLoadFlags(command
    .option('--config <file>', 'settings as YAML or JSON; flags win over it')
    .option('--recipe <name>', 'a paper\'s published settings (attune list recipes); --config and flags win over it')
    .option('--model <name>', 'bundled name, diffusers folder, single file (.safetensors, .ckpt) or hub id org/name[@revision] (default: emoji)'))))
    .option('--method <name>', 'see attune list methods (default: drtune)')
    .option('--reward <spec>', `NAME[:weight][?option=value]; repeat to sum several (default: ${configSchema.parse({}).rewards.join(' and ')})`, collect, [])
    .option('--subject-to <bound>', 'NAME>=BOUND or <=BOUND on a reward that must not get worse: a number, base, or base-0.5sd, e.g. "self-alignment>=base" (repeatable)', collect, [])
    .option('--normalise', 'count rewards in deviations between the base model\'s images, so that weights mean the same for all')
    .option('--prompts <name>', 'bundled list, or a .txt, .csv, .tsv, .json, .jsonl or .parquet file (default: people)')
    .option('--steps <n>', `updates (default: ${configSchema.parse({}).steps})`, parseNumber)
    .option('--batch <n>', 'images of a round, from which updates are made', parseNumber)
    .option('--microbatch <n>', 'images computed together (default: as many of the batch as fit into memory)', parseNumber)
    .option('--lr <x>', `learning rate (default: ${configSchema.parse({}).lr}, or 4e-4 for other models)`, parseNumber)
    .option('--guidance <x>', `classifier-free guidance; up to 1 is none (default: ${configSchema.parse({}).guidance}, or 5 for other models)`, parseNumber)
    .option('--sampler <name>', 'ddim, ddpm or dpm++2m-sde; of flow models ddim, flow-euler or flow-sde (default: ddim)')
    .option('--sampling-steps <n>', 'steps of the sampler', parseNumber)
    .option('--spacing <kind>', 'leading, trailing (for Turbo models) or linspace (default: the model\'s own)')
    .option('--seed <n>', 'seed of everything', parseNumber)
    .option('--device <name>', 'cpu, webgpu or cuda')
    .option('--threads <n>', 'threads of one operator', parseNumber)
    .option('--workers <n>', 'parts of a round that are computed at the same time, each by a thread that holds the model (CPU; default: 1)', parseNumber)
    .option('--memory <size>', 'what may be taken of the memory that is computed in, as 8GiB (default: all that is known to be there)')
    .option('--set <key=value>', 'any setting by its dotted name, e.g. --set method.k=all (repeatable); attune list settings explains all', collect, []);
}

function defaultFolder(config: RunConfig): string {
  const stamp = new Date().toISOString().replace(/[:.]/g, '-').slice(0, 19);
  return join('runs', `${stamp}-${config.method.name}`);
}

interface OwnFlags extends TrainFlags {
  out?: string;
  resume?: string;
  force?: boolean;
  json?: boolean;
  quiet?: boolean;
}

async function run(flags: OwnFlags): Promise<void> {
  const progress = terminalProgress(flags.quiet === true);
  const resume = flags.resume !== undefined;
  if (flags.force === true && !resume) throw new ConfigError('--force belongs to --resume');
  if (flags.out !== undefined && !resume) await checkWritable(flags.out, 'folder'); // before a hub is asked what the model is
  const config = resume ? await resumedConfig(flags) : await configFromFlags(flags);
  const path = flags.resume ?? flags.out ?? defaultFolder(config);
  tellRun(path);
  const summary = await runTraining(config, path, { resume, force: flags.force === true, progress, signal: stopSignal });
  if (!summary) throw stopSignal.reason ?? new Interrupted('SIGINT');
  process.stdout.write(flags.json ? `${JSON.stringify(summary)}\n` : told(summary));
}

async function resumedConfig(flags: OwnFlags): Promise<RunConfig> {
  const config = await storedConfig(flags.resume!);
  const changed = Object.keys(FIELDS).filter((f) => flags[f] !== undefined && !PLACE.has(f));
  if (changed.length > 0 || flags.set.length > 0 || flags.reward.length > 0 || flags.subjectTo.length > 0 || flags.config !== undefined || flags.recipe !== undefined) {
    throw new ConfigError(`--resume goes on with the configuration in ${join(flags.resume!, 'config.yaml')}; leave out other settings (but for --threads, --workers, --device, --microbatch and --memory), or start a new run`);
  }
  const place = Object.fromEntries([...PLACE].filter((f) => flags[f] !== undefined).map((f) => [f, flags[f]]));
  return resolveConfig({ ...config, ...place }, []);
}

/** The numbers where nothing chose the checkpoint, then those that chose it, and what lies where. */
function told({ base, tuned, selectedOn, reported, gainInDeviations, gainError, folder, report, lora, exported }: Summary): string {
  const line = (name: string, a: number | undefined, b: number | undefined): string =>
    a === undefined || b === undefined ? '' : `  ${name.padEnd(20)} ${a.toFixed(4)} → ${b.toFixed(4)}\n`;
  const measures = (from: Evaluation, to: Evaluation): string => [
    line('reward', from.reward, to.reward),
    ...Object.entries(from.rewardParts ?? {}).map(([name, r]) => line(`  ${name}`, r, to.rewardParts?.[name])),
    line('held-out reward', from.heldOutReward, to.heldOutReward), line('diversity', from.diversity, to.diversity),
  ].join('');
  const gain = (of: Pick<Compared, 'gainInDeviations' | 'gainError'>): string =>
    (of.gainInDeviations === null ? '' : `  ${gainText(of)} standard deviations of the base model's images\n`);
  const blocks = reported.map((r) => `Reported on ${setText(r.on)}\n${measures(r.base, r.tuned)}${gain(r)}`);
  const selected = `Selected on ${setText(selectedOn)}\n${measures(base, tuned)}${reported.length === 0 ? gain({ gainInDeviations, gainError }) : ''}`;
  const idle = exported[0]!.changes ? '' : ', without effect';
  const last = exported[1] ? `Last     ${join(folder, exported[1].path)} (step ${exported[1].step})\n` : '';
  return `${blocks.join('')}${selected}Weights  ${lora[0]} (step ${exported[0]!.step}, the best${idle})\n${last}`
    + `Pictures ${join(folder, 'before-after.png')}\nReport   ${report}\n`;
}

const RESUMING = `
Ctrl-C ends the run within one network call and keeps the last complete round (of full fine-tuning the last checkpoint).
--resume goes on from the newest checkpoint that is whole, from any folder, to the same bits as without the interruption.
Before, it compares what the run computes with, by digests in manifest.json: weights of the model and the rewards, every
file that a reward or the method reads, prompts, versions of attune, Node and ONNX Runtime, and the kind of processor. If
any of it has changed the run is refused with the difference (exit code 2); --force goes on, and writes the change down in
the manifest, TensorBoard and the LoRA's metadata.
`;

export function trainCommand(): Command {
  return withRunFlags(new Command('train'))
    .description('Fine-tune a text-to-image model to a reward. Without arguments: the bundled model, in about two minutes.')
    .option('--out <dir>', 'run folder (default: runs/<time>-<method>)')
    .option('--resume <dir>', 'go on with the run in this folder, with its own settings (--threads, --workers, --device, --microbatch and --memory may be others)')
    .option('--force', 'go on though model, rewards, prompts, programs or processor have changed since; the change is written down')
    .option('--json', 'the result as JSON')
    .option('--quiet', 'no progress')
    .addHelpText('after', RESUMING)
    .action(run);
}
