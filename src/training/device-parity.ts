/** @file One update of a method on another device than the CPU, against the CPU's: loss and gradients, number by number. */
import type { HostTensor } from '../graph/dtype.js';
import { openResources } from '../host/resources.js';
import type { Method, Update } from '../methods/method.js';
import type { Pipeline } from '../models/pipeline.js';
import { normal } from '../random/random.js';
import type { Reward } from '../rewards/reward.js';
import type { Execution } from '../runtime/compile.js';
import { traffic } from '../runtime/gpu-buffers.js';
import type { Traffic } from '../runtime/gpu-buffers.js';
import { ddim } from '../schedulers/ddim.js';
import { readSchedulerConfig } from '../schedulers/scheduler-config.js';
import { firstLossScale, nextLossScale } from './loss-scale.js';
import type { LossScale } from './loss-scale.js';
import { openPipelineTask } from './pipeline-task.js';
import type { Adaptation, PipelineTask } from './pipeline-task.js';

export interface ParityCase {
  readonly pipeline: Pipeline;
  /** Opened for either device, as rewards that are no graphs compile for themselves. */
  readonly reward: (compile: Execution) => Promise<Reward>;
  readonly method: Method<never>;
  /** Of the method; its defaults otherwise. */
  readonly options?: object;
  readonly adaptation: Adaptation;
  readonly checkpointing: boolean;
  /** Denoising steps. */
  readonly steps: number;
  readonly guidance: number;
  /** Pixels of a side. */
  readonly size: number;
  readonly prompts: readonly string[];
  readonly compile: Execution;
  /** The pipeline in another precision, for the device alone: the CPU's is what is right. */
  readonly onDevice?: Pipeline;
}

/** How far a device is from the CPU. */
export interface Parity {
  readonly loss: number;
  /** |difference| of the losses, of the CPU's. */
  readonly lossError: number;
  /** Largest |difference| of a gradient's element, of the largest |element| of all gradients. */
  readonly gradientError: number;
  /** Of the angle between the gradients of both, all taken as one vector. */
  readonly cosine: number;
  /** Trained numbers that were compared. */
  readonly parameters: number;
  /** One update with all compiling, on the CPU and on the device. */
  readonly seconds: readonly [cpu: number, device: number];
  /** Bytes that crossed to the device and back in a second update, weights being there, and runs of graphs. */
  readonly traffic: Traffic;
}

/** LoRAs begin as zero, which would hide half of the gradients. */
function moveAway(task: PipelineTask): void {
  if (!task.adapter) return;
  for (const [name, { data }] of task.parameters) {
    const noise = normal({ seed: 1, stream: `parity ${name}`, step: 0 }, 0, data.length);
    for (let i = 0; i < noise.length; i++) data[i] = 0.1 * noise[i]!;
  }
}

const finite = ({ gradients }: Update): boolean => [...gradients.values()].every(({ data }) => (data as Float32Array).every(Number.isFinite));

/** The first update that float16 can hold: the loss scale is halved as often as training would do it. */
async function firstUpdate(of: ParityCase, compile: Execution): Promise<{ update: Update; seconds: number; crossed: Traffic }> {
  const { process, options } = readSchedulerConfig(of.pipeline.scheduler, of.pipeline.source);
  const { noise, noisyEnd } = of.method.sampling;
  const plan = ddim(process, of.steps, { ...options, eta: noise, lastStep: noisyEnd ? 'ddpo' : 'diffusers' });
  await using resources = openResources();
  const reward = resources.use(await of.reward(compile));
  const started = performance.now();
  const task = resources.use(await openPipelineTask(of.pipeline, {
    microbatch: of.prompts.length, seed: 0, process, plan, guidance: of.guidance,
    negativePrompt: '', height: of.size, width: of.size, adaptation: of.adaptation, reward, checkpointing: of.checkpointing, compile,
  }));
  moveAway(task);
  const rule = resources.use(await of.method.create(task, of.method.options.parse(of.options ?? {})));
  for (let scale: LossScale | null = firstLossScale(); scale; scale = nextLossScale(scale, false)) {
    task.setLossScale?.(scale.scale);
    for await (const update of rule.round(of.prompts, 0)) {
      const [seconds, before] = [(performance.now() - started) / 1000, traffic()];
      if (task.setLossScale && !finite(update)) break;
      // Once more, for what an update costs when all is compiled and uploaded; the CPU has nothing to tell.
      if (compile.device !== 'cpu') for await (const _ of rule.round(of.prompts, 1)) break;
      const now = traffic();
      return { update, seconds, crossed: { up: now.up - before.up, down: now.down - before.down, runs: now.runs - before.runs } };
    }
  }
  throw new Error(`${of.method.name} made no update that is finite`);
}

const largest = (gradients: Iterable<HostTensor>): number => {
  let most = 0;
  for (const { data } of gradients) for (const v of data) most = Math.max(most, Math.abs(Number(v)));
  return most;
};

/** Makes the first update of a method on both devices. NaN anywhere makes an error of NaN. */
export async function deviceParity(of: ParityCase): Promise<Parity> {
  const cpu = await firstUpdate(of, { ...of.compile, device: 'cpu' });
  const other = await firstUpdate({ ...of, pipeline: of.onDevice ?? of.pipeline }, of.compile);
  const scale = largest(cpu.update.gradients.values());
  let [worst, parameters, together, here, there] = [0, 0, 0, 0, 0];
  for (const [name, { data }] of cpu.update.gradients) {
    const theirs = other.update.gradients.get(name)!.data;
    parameters += data.length;
    for (let i = 0; i < data.length; i++) {
      const [a, b] = [Number(data[i]), Number(theirs[i])];
      worst = Math.max(worst, Math.abs(b - a));
      together += a * b;
      here += a * a;
      there += b * b;
    }
  }
  const { loss } = cpu.update;
  return {
    loss, parameters,
    lossError: Math.abs(other.update.loss - loss) / Math.abs(loss),
    gradientError: worst / scale,
    cosine: together / Math.sqrt(here * there),
    seconds: [cpu.seconds, other.seconds],
    traffic: other.crossed,
  };
}
