/** @file A task small enough for finite differences: a nonlinear two-layer network on samples of 12 numbers. */
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { grad } from '../../src/graph/grad.js';
import { add, mul, sin, square, sub, tanh } from '../../src/graph/ops/arithmetic.js';
import { reshape } from '../../src/graph/ops/layout.js';
import { linear } from '../../src/graph/ops/matmul.js';
import { sum } from '../../src/graph/ops/reduce.js';
import { input } from '../../src/graph/tensor.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { counted } from '../../src/methods/counted.js';
import type { Counts } from '../../src/methods/counted.js';
import { inCuts } from '../../src/methods/cuts.js';
import { openPolicy } from '../../src/methods/policy.js';
import type { Task } from '../../src/methods/task.js';
import { openWork } from '../../src/methods/work.js';
import type { Executor } from '../../src/methods/work.js';
import { normal } from '../../src/random/random.js';
import { checkScores } from '../../src/rewards/reward.js';
import { compile } from '../../src/runtime/compile.js';
import type { SessionPool } from '../../src/runtime/session-pool.js';
import { ddim } from '../../src/schedulers/ddim.js';
import { cumulativeAlphas, makeBetas } from '../../src/schedulers/noise-schedule.js';
import type { VariancePreserving } from '../../src/schedulers/process.js';

export interface TinyOptions {
  steps?: number;
  eta?: number;
  lastStep?: 'diffusers' | 'ddpo';
  batch?: number;
  /** Items that a graph holds; all of the batch by default. */
  microbatch?: number;
  executor?: Executor;
  together?: number;
  /** Where graphs are run. */
  pool?: SessionPool;
  seed?: number;
  predictionType?: VariancePreserving['predictionType'];
  differentiable?: boolean;
  data?: Task['data'];
  /** What the network starts from, and its reference stays at. */
  parameters?: ReadonlyMap<string, HostTensor>;
}

const HIDDEN = 6;

/** Reward of samples x [B, 3, 2, 2]: Σ sin(x) − 0.1·(x − prompt length / 10)², so that prompts matter. */
function tinyReward(x: Tensor, target: Tensor): Tensor {
  const flat = reshape(x, [x.shape[0]!, 12]);
  return sum(sub(sin(flat), mul(square(sub(flat, target)), 0.1)), { axes: [1] });
}

const targetsOf = (prompts: readonly string[]): HostTensor =>
  host(Float32Array.from(prompts, (p) => p.length / 10), [prompts.length, 1]);

/** For tasks that have no files. */
export const NO_DATA: Task['data'] = {
  pictures: () => Promise.reject(new Error('no pictures')),
  pairs: () => Promise.reject(new Error('no pairs')),
};

/** The reward that `trace` makes of samples of `shape`; what it needs from the prompts `taskCompile` feeds. */
export async function tracedReward(
  trace: (samples: Tensor) => Tensor, shape: readonly number[], taskCompile: Task['compile'], differentiable = true,
): Promise<Task['reward']> {
  const samples = input('samples', shape);
  const traced = trace(samples);
  const both = await taskCompile({ score: traced, gradient: grad(sum(traced), [samples])[0]! });
  const record: Task['reward']['record'] = (scores, prompts) => {
    checkScores('test', scores, prompts);
    return scores;
  };
  return {
    differentiable,
    score: async (x, prompts) => record((await both.run({ samples: x }, prompts)).score.data, prompts),
    async gradient(x, prompts) {
      const { score, gradient } = await both.run({ samples: x }, prompts);
      return { score: record(score.data, prompts), gradient };
    },
    trace,
    feeds: async () => ({}),
    record,
  };
}

/** A task that counts, and the size of its rounds. */
export type TestTask = Task & { readonly counts: Counts; readonly batch: number };

export async function tinyTask(options: TinyOptions = {}): Promise<TestTask> {
  const { steps = 4, eta = 0, lastStep = 'diffusers', batch = 2, microbatch = batch, seed = 1, predictionType = 'epsilon' } = options;
  const alphasCumprod = cumulativeAlphas(makeBetas('scaled_linear', 1000, 0.00085, 0.012));
  const process = { kind: 'variance-preserving' as const, alphasCumprod, finalAlphaCumprod: alphasCumprod[0]!, predictionType };
  const plan = ddim(process, steps, { eta, lastStep, stepsOffset: 1 });
  const symbols = new Map<string, Tensor>();
  const shapes: Record<string, number[]> = { w1: [HIDDEN, 12], b1: [HIDDEN], w2: [12, HIDDEN], time: [HIDDEN] };
  for (const [name, shape] of Object.entries(shapes)) symbols.set(name, input(name, shape));
  const parameters = new Map<string, HostTensor>(Object.entries(shapes).map(([name, shape]) => {
    const size = shape.reduce((a, b) => a * b, 1);
    const given = options.parameters?.get(name);
    return [name, given ? { ...given, data: given.data.slice() } : host(normal({ seed: 3, stream: name, step: 0 }, 0, size).map((v) => v * 0.4), shape)];
  }));
  const reference = new Map([...parameters].map(([name, t]) => [`reference/${name}`, { ...t, data: t.data.slice() }]));
  const target = input('target', [microbatch, 1]);
  const network: Task['network'] = (x, step, which) => {
    const p = (name: string): Tensor => (which === 'tuned' ? symbols.get(name)! : frozen.get(name)!);
    const flat = reshape(x, [microbatch, 12]);
    const clock = mul(reshape(step.timestep, [microbatch, 1]), 1e-3);
    const hidden = tanh(add(add(linear(flat, p('w1'), p('b1')), mul(clock, p('time'))), mul(target, 0.1)));
    return add(reshape(linear(hidden, p('w2')), x.shape), mul(x, 0.5));
  };
  const frozen = new Map(Object.entries(shapes).map(([name, shape]) => [name, input(`reference/${name}`, shape)]));
  const work = openWork(options.executor, options.together);
  const taskCompile: Task['compile'] = async (outputs, facts) => {
    const executable = await compile({ outputs }, { threads: 1, pool: options.pool });
    return {
      run: inCuts(outputs, (feeds, prompts) => executable.run({
        ...Object.fromEntries(parameters), ...Object.fromEntries(reference), target: targetsOf(prompts), ...feeds,
      }), microbatch, facts ?? {}, work),
      release: () => executable.release(),
    };
  };
  const { task, counts } = counted<Task>({
    sampleShape: [3, 2, 2], microbatch, work, seed, process, plan, callsPerSample: 1, ...openPolicy(parameters, symbols), network,
    compile: taskCompile,
    auxiliary(name) {
      const matrix = input(`${name}/w`, [12, 12]);
      const weights = host(normal({ seed: 4, stream: name, step: 0 }, 0, 144).map((v) => v * 0.2), [12, 12]);
      return {
        parameters: new Map([[`${name}/w`, weights]]),
        symbols: new Map([[`${name}/w`, matrix]]),
        output: (x) => reshape(linear(reshape(x, [microbatch, 12]), matrix), x.shape),
      };
    },
    data: options.data ?? NO_DATA,
    reward: await tracedReward((x) => tinyReward(x, target), [microbatch, 3, 2, 2], taskCompile, options.differentiable),
  });
  return { ...task, counts, batch };
}

