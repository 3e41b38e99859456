/**
 * @file A second family, of which no method knows: data N(0, 1/4) under a rectified flow. Its exact velocity is linear,
 * v(x, σ) = x·(σ − (1−σ)s²)/((1−σ)²s² + σ²), and is tuned as v + aᵢ·x + bᵢ at each step of the plan.
 */
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { abs, add, div, maximum, mul, square, sub } from '../../src/graph/ops/arithmetic.js';
import { reshape } from '../../src/graph/ops/layout.js';
import { sum } from '../../src/graph/ops/reduce.js';
import { input } from '../../src/graph/tensor.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { counted } from '../../src/methods/counted.js';
import { inCuts } from '../../src/methods/cuts.js';
import { openPolicy } from '../../src/methods/policy.js';
import type { Task } from '../../src/methods/task.js';
import { openWork } from '../../src/methods/work.js';
import { compile } from '../../src/runtime/compile.js';
import { samplers } from '../../src/schedulers/index.js';
import type { SamplerName } from '../../src/schedulers/index.js';
import type { SamplerOptions, Step } from '../../src/schedulers/plan.js';
import type { RectifiedFlow } from '../../src/schedulers/process.js';
import { finalMoments } from './gaussian-task.js';
import { NO_DATA, tracedReward } from './tiny-task.js';
import type { TestTask } from './tiny-task.js';

/** s², the variance of the data. */
export const VARIANCE = 0.25;

export interface FlowOptions {
  sampler?: SamplerName;
  steps?: number;
  options?: SamplerOptions;
  batch?: number;
  /** Numbers in a sample; they are independent of each other. */
  size?: number;
  /** Σ x, instead of −½‖x − 2‖². */
  linear?: boolean;
}

export type FlowTask = TestTask & { readonly parameters: Map<string, HostTensor> };

export async function flowTask({ sampler = 'ddim', steps = 10, options = { shift: 3 }, batch = 16, size = 16, linear = false }: FlowOptions = {}): Promise<FlowTask> {
  const process: RectifiedFlow = { kind: 'rectified-flow', predictionType: 'flow' };
  const plan = samplers[sampler].plan(process, steps, options);
  const sampleShape = [1, 1, size];
  const visited = host(Float32Array.from(plan.steps, (s) => s.timestep), [1, steps]);
  const times = input('visited', [1, steps]);
  const affine = (prefix: string) => {
    const symbols = new Map(['a', 'b'].map((name) => [prefix + name, input(prefix + name, [1, steps])]));
    const parameters = new Map([...symbols.keys()].map((name) => [name, host(new Float32Array(steps), [1, steps])]));
    const output = (x: Tensor, step: Step<Tensor>): Tensor => {
      // 1 at the step's own time, 0 at those of others, which are more than 1 away.
      const own = maximum(sub(1, abs(sub(reshape(step.timestep, [batch, 1]), times))), 0);
      const at = (name: string): Tensor => reshape(sum(mul(own, symbols.get(prefix + name)!), { axes: [1] }), [batch, 1, 1, 1]);
      return add(mul(x, at('a')), at('b'));
    };
    return { symbols, parameters, output };
  };
  const tuned = affine('');
  const work = openWork();
  const taskCompile: Task['compile'] = async (outputs, facts) => {
    const executable = await compile({ outputs }, { threads: 1 });
    return {
      run: inCuts(outputs, (feeds) => executable.run({ ...Object.fromEntries(tuned.parameters), visited, ...feeds }), batch, facts ?? {}, work),
      release: () => executable.release(),
    };
  };
  const reward = (samples: Tensor): Tensor =>
    linear ? sum(samples, { axes: [1, 2, 3] }) : mul(sum(square(sub(samples, 2)), { axes: [1, 2, 3] }), -0.5);
  const { task, counts } = counted({
    sampleShape, microbatch: batch, work, process, plan,
    seed: 1,
    callsPerSample: 1,
    ...openPolicy(tuned.parameters, tuned.symbols),
    network(x, step, which) {
      const { signal, noise } = step.from;
      const exact = mul(x, slopeOf(signal, noise));
      return which === 'tuned' ? add(exact, tuned.output(x, step)) : exact;
    },
    auxiliary: (name) => affine(`${name}/`),
    compile: taskCompile,
    data: NO_DATA,
    reward: await tracedReward(reward, [batch, ...sampleShape], taskCompile),
  } satisfies Task);
  return { ...task, counts, batch };
}

/** v/x of the exact velocity. */
function slopeOf(signal: Tensor, noise: Tensor): Tensor {
  return div(sub(noise, mul(signal, VARIANCE)), add(mul(square(signal), VARIANCE), square(noise)));
}

/** Mean and variance of what the network now samples, by the plan. */
export function sampledMoments({ plan, parameters }: FlowTask): { mean: number; variance: number } {
  const [a, b] = ['a', 'b'].map((name) => parameters.get(name)!.data as Float32Array) as [Float32Array, Float32Array];
  return finalMoments(plan.steps.map(({ from: { signal, noise }, meanFromX, meanFromOutput, std }: Step, i) => {
    const slope = (noise - signal * VARIANCE) / (signal ** 2 * VARIANCE + noise ** 2);
    return { A: meanFromX + meanFromOutput * (slope + a[i]!), B: meanFromOutput * b[i]!, std };
  }));
}
