/** @file `attune plan`: what a run will need, foretold from its graphs and measured by one miniature round, before hours are spent. */
import { Command } from 'commander';
import { bytesPerElement } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { peakBytes } from '../machine/memory.js';
import { drawPrompts } from '../training/prompts.js';
import type { Progress } from '../runs/progress.js';
import { openSession } from '../training/session.js';
import type { Session } from '../training/session.js';
import { stopSignal } from './supervise.js';
import { terminalProgress } from './terminal.js';
import { configFromFlags, withRunFlags } from './train.js';
import type { TrainFlags } from './train.js';

interface Flags extends TrainFlags {
  json?: boolean;
  quiet?: boolean;
}

interface PlanReport {
  precision: string;
  /** Of the model alone, in memory. */
  weightBytes: number;
  trainedNumbers: number;
  batch: number;
  /** Images that go through the network together. */
  microbatch: number;
  secondsPerUpdate: number;
  secondsPerEvaluation: number;
  totalSeconds: number;
  peakMemoryBytes: number;
  /** Of the memory, before anything was compiled. */
  forecast: PlannedMemory;
  diskBytes: number;
}

interface PlannedMemory {
  hostBytes: number;
  /** Null where the CPU computes. */
  deviceBytes: number | null;
  /** Of model and rewards. */
  weightBytes: number;
  /** On a device the weights, and what is made of them beforehand. */
  heldBytes: number;
  optimizerBytes: number;
  graphs: { name: string; valueBytes: number; sessionBytes: number; flops: number; largest: string }[];
  /** What is there, if anybody tells. */
  roomBytes: number | null;
  checkpointing: boolean;
}

async function foretold({ memory }: Session, progress: Progress): Promise<PlannedMemory> {
  progress.phase('foretelling the memory');
  const { levers, forecast: { host, device, weights, held, optimizer, graphs } } = await memory.fitted();
  return {
    hostBytes: host, deviceBytes: device, weightBytes: weights, heldBytes: held, optimizerBytes: optimizer,
    graphs: [...graphs].map(([name, g]) => ({ name, valueBytes: g.values, sessionBytes: g.session, flops: g.flops, largest: g.largest.name })),
    roomBytes: memory.room?.bytes ?? null, checkpointing: levers.checkpointing,
  };
}

const bytesOf = (tensors: ReadonlyMap<string, HostTensor>): number =>
  [...tensors.values()].reduce((n, t) => n + t.data.length * bytesPerElement(t.dtype), 0);

async function run(flags: Flags): Promise<void> {
  const progress = terminalProgress(flags.quiet === true);
  const config = await configFromFlags(flags);
  const session = await openSession(config, progress, {}, stopSignal);
  const plan = await foretold(session, progress).then((memory) => measured(session, progress, memory)).finally(() => session.release());
  process.stdout.write(flags.json ? `${JSON.stringify(plan)}\n` : told(plan, config.steps));
}

/** What a round and an evaluation take. */
async function measured(session: Session, progress: Progress, forecast: PlannedMemory): Promise<PlanReport> {
  const { config } = session;
  const { task } = session;
  const rule = await session.method.create(task, session.methodOptions);
  const prompts = drawPrompts(session.prompts, config.seed, 0, config.batch);
  progress.phase('trying one round, twice: the first is slower');
  let updates = 0;
  let seconds = 0;
  for (let round = 0; round < 2; round++) {
    const began = performance.now();
    updates = 0;
    for await (const { gradients } of rule.round(prompts, round)) updates += gradients.size > 0 ? 1 : 0;
    seconds = (performance.now() - began) / 1000 / updates;
  }
  const began = performance.now();
  await session.evaluator.measure(0, null);
  const evaluationSeconds = (performance.now() - began) / 1000;
  const atEnd = session.reported.reduce((n, set) => n + set.prompts.length, 0) / session.evaluator.selection.prompts.length;
  const evaluations = 2 * atEnd + 2 + (config.evaluation.every > 0 ? Math.floor(config.steps / config.evaluation.every) : 0) + config.evaluation.sweep.length;
  const trained = bytesOf(task.parameters);
  await rule.release();
  return {
    precision: session.config.precision,
    weightBytes: bytesOf(session.pipeline.weights),
    trainedNumbers: trained / 4,
    batch: config.batch,
    microbatch: task.microbatch,
    secondsPerUpdate: seconds,
    secondsPerEvaluation: evaluationSeconds,
    totalSeconds: seconds * config.steps + evaluationSeconds * evaluations,
    peakMemoryBytes: peakBytes(),
    forecast,
    // Five copies in each of three checkpoints (two and the one being written), and four LoRA files each of best and last.
    diskBytes: trained * (5 * 3 + 2 * 4),
  };
}

function told(plan: PlanReport, steps: number): string {
  const mb = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
  return [
    `trains       ${plan.trainedNumbers.toLocaleString('en')} numbers`,
    `a round      ${plan.batch} images, ${plan.microbatch === plan.batch ? 'all' : plan.microbatch} at a time`,
    `an update    ${plan.secondsPerUpdate.toFixed(2)} s`,
    `${String(steps).padEnd(12)} updates and their evaluations: about ${(plan.totalSeconds / 60).toFixed(1)} min`,
    `memory       ${mb(plan.peakMemoryBytes)} at the peak so far, ${mb(plan.weightBytes)} of it the model's weights (${plan.precision})`,
    `foretold     ${mb(plan.forecast.hostBytes)}${plan.forecast.deviceBytes === null ? '' : `, and ${mb(plan.forecast.deviceBytes)} on the device`}, of which the largest graphs take: ${plan.forecast.graphs
      .toSorted((a, b) => b.valueBytes - a.valueBytes).slice(0, 3).map((g) => `${g.name} ${mb(g.valueBytes)}`).join('; ')}`,
    `disk         ${mb(plan.diskBytes)} beside pictures and logs`,
    '',
  ].join('\n');
}

export function planCommand(): Command {
  return withRunFlags(new Command('plan'))
    .description('Check every file and name of a run, and measure what it will need, by one miniature round.')
    .option('--json', 'the result as JSON')
    .option('--quiet', 'no progress')
    .action(run);
}
