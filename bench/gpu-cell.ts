/** @file One measurement of `bench/gpu.sh` in a process of its own: `node gpu-cell.js '<json>'` prints it as a line of JSON. */
import { flopsOf } from '../src/graph/flops.js';
import { cast } from '../src/graph/ops/arithmetic.js';
import { matmul } from '../src/graph/ops/matmul.js';
import { sum } from '../src/graph/ops/reduce.js';
import { graphInputs, schedule } from '../src/graph/onnx/export.js';
import { weight } from '../src/graph/tensor.js';
import type { Tensor } from '../src/graph/tensor.js';
import { host, sizeOf } from '../src/graph/dtype.js';
import { openBackprop } from '../src/methods/backprop.js';
import { findMethod } from '../src/methods/index.js';
import { openRollouts } from '../src/methods/rollout.js';
import type { GraphFacts } from '../src/methods/cuts.js';
import type { Task, TaskExecutable } from '../src/methods/task.js';
import { samplesOf, sampleSize } from '../src/methods/task.js';
import { PRECISIONS } from '../src/nn/precision.js';
import { bytesOf } from '../src/runtime/buffer-plan.js';
import { compile } from '../src/runtime/compile.js';
import type { Device } from '../src/runtime/device.js';
import { peakBytes } from '../src/machine/memory.js';
import { ddim } from '../src/schedulers/ddim.js';
import { readSchedulerConfig } from '../src/schedulers/scheduler-config.js';
import { deviceParity } from '../src/training/device-parity.js';
import { inPrecision } from '../src/training/fit-memory.js';
import { forecast } from '../src/training/forecast.js';
import { openPipelineTask } from '../src/training/pipeline-task.js';
import { randomPipeline, smoothReward } from './random-pipeline.js';

export type Work = 'peak' | 'unet' | 'lora' | 'sample' | 'draft-lv' | 'nabla-db';

export interface CellSpec {
  readonly work: Work;
  readonly device: Device;
  readonly precision: 'float32' | 'mixed';
  readonly batch: number;
  /** Pixels of a side. */
  readonly size: number;
  readonly small: boolean;
  /** Compare an update with the CPU's instead of timing it. */
  readonly proof?: boolean;
}

export interface Cell {
  milliseconds: number;
  flops: number;
  /** Operators of the graphs that were run, each counted as often. */
  operators?: number;
  /** Bytes of what runs were fed beside weights, and gave. */
  moved?: number;
  /** Of the process on the host. */
  peakBytes: number;
  /** Foretold for the method, on the device (or the host, where that computes) and on the host. */
  forecastBytes?: number;
  forecastHostBytes?: number;
  /** Of a proof: against the CPU. */
  lossError?: number;
  gradientError?: number;
  cosine?: number;
}

const STEPS = 4;
const LORA = { kind: 'lora', options: { rank: 8, targets: ['to_q', 'to_k', 'to_v', 'to_out.0'] } } as const;

async function median(run: () => Promise<unknown>, runs: number): Promise<number> {
  await run();
  const times: number[] = [];
  for (let i = 0; i < runs; i++) {
    const start = performance.now();
    await run();
    times.push(performance.now() - start);
  }
  return times.toSorted((a, b) => a - b)[runs >> 1]!;
}

/** A large product, of which only a number comes back. */
async function peak({ device, precision, small }: CellSpec): Promise<Cell> {
  const n = small ? 512 : 4096;
  const type = precision === 'mixed' ? 'float16' : 'float32';
  const square = (name: string): Tensor => cast(weight(name, [n, n]), type);
  const outputs = { y: sum(cast(matmul(square('a'), square('b')), 'float32')) };
  const values = { shape: [n, n], dtype: 'float32' as const, data: new Float32Array(sizeOf([n, n])).fill(0.01) };
  const executable = await compile({ outputs }, { device, weights: { a: values, b: { ...values, data: values.data.slice() } }, hoist: true });
  const milliseconds = await median(() => executable.run({}), 7);
  return { milliseconds, flops: flopsOf(outputs), peakBytes: peakBytes() };
}

/** The task, and what is spent through it. */
function metered(task: Task): { task: Task; spent: { flops: number; operators: number; moved: number } } {
  const spent = { flops: 0, operators: 0, moved: 0 };
  return {
    spent,
    task: {
      ...task,
      async compile<O extends string>(outputs: Readonly<Record<O, Tensor>>, facts?: GraphFacts<O>): Promise<TaskExecutable<O>> {
        const executable = await task.compile(outputs, facts);
        const flops = flopsOf(outputs);
        const operators = schedule(Object.values<Tensor>(outputs)).filter(({ op }) => !op.startsWith('@')).length;
        const moved = [...graphInputs({ outputs }).values()].filter((t) => !t.node.frozen).concat(Object.values<Tensor>(outputs)).reduce((n, t) => n + bytesOf(t), 0);
        return {
          ...executable,
          run(feeds, prompts) {
            const cuts = Math.ceil(prompts.length / task.microbatch);
            spent.flops += cuts * flops;
            spent.operators += cuts * operators;
            spent.moved += cuts * moved;
            return executable.run(feeds, prompts);
          },
        };
      },
    },
  };
}

async function measured(spec: CellSpec): Promise<Cell> {
  const { work, device, batch, size } = spec;
  const pipeline = await randomPipeline(spec.precision, spec.small);
  const { process: noising, options } = readSchedulerConfig(pipeline.scheduler, pipeline.source);
  const method = findMethod(work === 'nabla-db' ? 'nabla-db' : 'draft-lv')!;
  const { noise, noisyEnd } = method.sampling;
  const plan = ddim(noising, STEPS, { ...options, eta: noise, lastStep: noisyEnd ? 'ddpo' : 'diffusers' });
  const checkpointing = !spec.small && work !== 'unet' && work !== 'sample';
  const taskOptions = {
    microbatch: batch, seed: 0, process: noising, plan, guidance: 1, negativePrompt: '', height: size, width: size,
    adaptation: LORA, reward: smoothReward, checkpointing, compile: { device },
  };
  const training = work === 'draft-lv' || work === 'nabla-db' ? { method, options: method.options.parse({}) as never, averaged: false } : null;
  const foretold = await forecast({ pipeline, options: taskOptions, training, judges: [] });
  const opened = await openPipelineTask(pipeline, taskOptions);
  const { task, spent } = metered(opened);
  const prompts = Array.from({ length: batch }, (_, i) => `a cat ${i}`);
  const x = samplesOf(task, Float32Array.from({ length: batch * sampleSize(task) }, (_, i) => Math.sin(i)));
  let run: () => Promise<unknown>;
  if (work === 'unet' || work === 'sample') {
    const rollouts = await openRollouts(task);
    run = work === 'unet'
      ? () => rollouts.predict(x, plan.steps[0]!, prompts)
      : async () => opened.decode((await rollouts.rollout(prompts, 0)).x.at(-1)!);
  } else if (work === 'lora') {
    const back = await openBackprop(task, { jacobian: false });
    run = () => back.network(x, plan.steps[0]!, host(new Float32Array(x.data.length).fill(1), x.shape), prompts);
  } else {
    const rule = await method.create(task, training!.options);
    run = async () => {
      for await (const update of rule.round(prompts, 0)) return update;
      throw new Error(`${work} made no update`);
    };
  }
  await run();
  Object.assign(spent, { flops: 0, operators: 0, moved: 0 });
  let runs = 0;
  const milliseconds = await median(async () => {
    runs += 1;
    await run();
  }, spec.small ? 1 : 3);
  return {
    milliseconds, flops: spent.flops / runs, operators: Math.round(spent.operators / runs), moved: Math.round(spent.moved / runs),
    peakBytes: peakBytes(), forecastBytes: foretold.device ?? foretold.host, forecastHostBytes: foretold.host,
  };
}

/** An update against the CPU's in float32. */
async function proven({ work, device, precision, size, small, batch }: CellSpec): Promise<Cell> {
  const pipeline = await randomPipeline('float32', small);
  const onDevice = precision === 'float32' ? pipeline : { ...inPrecision(pipeline, precision), weights: (await randomPipeline(precision, small)).weights, precision: PRECISIONS[precision] };
  const parity = await deviceParity({
    pipeline, onDevice, method: findMethod(work)!, reward: async () => smoothReward, adaptation: LORA, checkpointing: !small, steps: 2, guidance: 1, size,
    prompts: Array.from({ length: batch }, (_, i) => `a cat ${i}`), compile: { device },
  });
  const { lossError, gradientError, cosine, seconds } = parity;
  return { milliseconds: 1000 * seconds[1], flops: 0, peakBytes: peakBytes(), lossError, gradientError, cosine };
}

const spec = JSON.parse(process.argv[2]!) as CellSpec;
const cell = await (spec.proof ? proven(spec) : spec.work === 'peak' ? peak(spec) : measured(spec));
process.stdout.write(`${JSON.stringify(cell)}\n`);
process.exit(0);
