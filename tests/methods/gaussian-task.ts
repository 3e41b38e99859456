/**
 * @file Data N(0, I), whose exact denoiser is ε(x, t) = √(1 − ā)·x, tuned as ε + aₜ·x + bₜ, with the reward
 * −½‖x − m‖²: a task whose optimum is known in closed form for every method (algorithms.md §1.4).
 */
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { add, cast, floor, mul, square, sub } from '../../src/graph/ops/arithmetic.js';
import { gather } from '../../src/graph/ops/gather.js';
import { reshape } from '../../src/graph/ops/layout.js';
import { sum } from '../../src/graph/ops/reduce.js';
import { input } from '../../src/graph/tensor.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { counted } from '../../src/methods/counted.js';
import { inCuts } from '../../src/methods/cuts.js';
import { openPolicy } from '../../src/methods/policy.js';
import type { Task } from '../../src/methods/task.js';
import { openWork } from '../../src/methods/work.js';
import type { Executor } from '../../src/methods/work.js';
import { compile } from '../../src/runtime/compile.js';
import { ddim } from '../../src/schedulers/ddim.js';
import { cumulativeAlphas, makeBetas } from '../../src/schedulers/noise-schedule.js';
import type { Plan, Step } from '../../src/schedulers/plan.js';
import { NO_DATA, tracedReward } from './tiny-task.js';
import type { TestTask } from './tiny-task.js';

export interface GaussianOptions {
  steps?: number;
  batch?: number;
  /** Items that a graph holds; all of the batch by default. */
  microbatch?: number;
  executor?: Executor;
  /** Numbers in a sample; they are independent of each other. */
  size?: number;
  eta?: number;
  /** m */
  mean?: number;
  seed?: number;
  plan?: (process: Task['process'], steps: number) => Plan;
}

export type GaussianTask = TestTask & { readonly parameters: Map<string, HostTensor> };

export async function gaussianTask(options: GaussianOptions = {}): Promise<GaussianTask> {
  const { steps = 50, batch = 64, microbatch = batch, size = 16, eta = 1, mean = 2, seed = 1 } = options;
  const alphasCumprod = cumulativeAlphas(makeBetas('scaled_linear', 1000, 0.00085, 0.012));
  const process = { kind: 'variance-preserving' as const, alphasCumprod, finalAlphaCumprod: alphasCumprod[0]!, predictionType: 'epsilon' as const };
  const plan = options.plan?.(process, steps) ?? ddim(process, steps, { eta, lastStep: 'ddpo', stepsOffset: 1 });
  const sampleShape = [1, 1, size];
  const entries = steps + 1;
  /** Number of a time among those of the plan: 0 for t = 0, 1 for the last step's. */
  const entry = (step: Step<Tensor>): Tensor =>
    cast(floor(mul(add(step.timestep, Math.floor(1000 / steps) - 1), 1 / Math.floor(1000 / steps))), 'int64');
  const affine = (prefix: string) => {
    const symbols = new Map(['a', 'b'].map((name) => [prefix + name, input(prefix + name, [entries])]));
    const parameters = new Map([...symbols.keys()].map((name) => [name, host(new Float32Array(entries), [entries])]));
    const at = (name: string, step: Step<Tensor>): Tensor => reshape(gather(symbols.get(prefix + name)!, entry(step)), [microbatch, 1, 1, 1]);
    const output = (x: Tensor, step: Step<Tensor>): Tensor => add(mul(x, at('a', step)), at('b', step));
    return { symbols, parameters, output };
  };
  const tuned = affine('');
  const work = openWork(options.executor);
  const taskCompile: Task['compile'] = async (outputs, facts) => {
    const executable = await compile({ outputs }, { threads: 1 });
    return {
      run: inCuts(outputs, (feeds) => executable.run({ ...Object.fromEntries(tuned.parameters), ...feeds }), microbatch, facts ?? {}, work),
      release: () => executable.release(),
    };
  };
  const reward = (samples: Tensor): Tensor => mul(sum(square(sub(samples, mean)), { axes: [1, 2, 3] }), -0.5);
  const { task, counts } = counted({
    sampleShape, microbatch, work, seed, process, plan,
    callsPerSample: 1,
    ...openPolicy(tuned.parameters, tuned.symbols),
    network(x, step, which) {
      const exact = mul(x, step.from.noise);
      return which === 'tuned' ? add(exact, tuned.output(x, step)) : exact;
    },
    auxiliary: (name) => affine(`${name}/`),
    compile: taskCompile,
    data: NO_DATA,
    reward: await tracedReward(reward, [microbatch, ...sampleShape], taskCompile),
  } satisfies Task);
  return { ...task, counts, batch };
}

/** x' = A·x + B + σ·z: what a step does, given ε = √(1 − ā)·x + a·x + b. */
export function affineStep(step: Step, a: number, b: number): { A: number; B: number; std: number } {
  return { A: step.meanFromX + step.meanFromOutput * (step.from.noise + a), B: step.meanFromOutput * b, std: step.std };
}

/** Mean and variance of the finished samples of a chain of affine steps that starts from N(0, 1). */
export function finalMoments(steps: readonly { A: number; B: number; std: number }[]): { mean: number; variance: number } {
  return steps.reduce(({ mean, variance }, { A, B, std }) => ({ mean: A * mean + B, variance: A * A * variance + std * std }),
    { mean: 0, variance: 1 });
}

/** The moments of what the tuned network now samples. */
export function tunedMoments(task: GaussianTask): { mean: number; variance: number } {
  const [a, b] = ['a', 'b'].map((name) => task.parameters.get(name)!.data as Float32Array) as [Float32Array, Float32Array];
  const { steps } = task.plan;
  return finalMoments(steps.map((step, i) => affineStep(step, a[steps.length - i]!, b[steps.length - i]!)));
}
