/** @file The memory that a training will take, foretold by a round of its method in which nothing is computed. */
import type { HostTensor } from '../graph/dtype.js';
import { input } from '../graph/tensor.js';
import type { Method } from '../methods/method.js';
import { openRollouts } from '../methods/rollout.js';
import type { Pipeline } from '../models/pipeline.js';
import { ENCODED_TOGETHER } from '../models/prompt.js';
import { frozenWeights } from '../nn/scope.js';
import type { Reward } from '../rewards/reward.js';
import { SCORED_TOGETHER } from '../rewards/scorer.js';
import { bytesOf } from '../runtime/buffer-plan.js';
import { openDryRuntime } from '../runtime/dry-runtime.js';
import { graphMemory } from '../runtime/graph-memory.js';
import type { GraphMemory } from '../runtime/graph-memory.js';
import { openPipelineTask } from './pipeline-task.js';
import type { PipelineTaskOptions } from './pipeline-task.js';

export interface Forecast {
  /** Of model and reward, on the host. */
  readonly weights: number;
  /** The same, and what is made of them, on a device; on the CPU what is made of them alone. */
  readonly held: number;
  /** The graphs of the method, of evaluation and of the text encoders, each by its outputs. */
  readonly graphs: ReadonlyMap<string, GraphMemory>;
  /** Parameters, moments, averages and the copies that are kept of them. */
  readonly optimizer: number;
  /** All that the process takes on the host. */
  readonly host: number;
  /** All that lies on the device; null on the CPU. */
  readonly device: number | null;
  /** Floating-point operations of a run of the largest graph. */
  readonly flops: number;
}

/** Node, ONNX Runtime's code and ours, measured without a model. */
const PROCESS = 130 * 2 ** 20;
/** Parameters, gradient, two moments, the best and those of the round's start with its moments, and one more while they are copied. */
const COPIES = 9;

const sum = (numbers: Iterable<number>): number => [...numbers].reduce((a, b) => a + b, 0);

/** Bytes of arrays, each once however many names it has. */
const arrayBytes = (tensors: Iterable<HostTensor>): number => sum(new Map([...tensors].map((t) => [t.data, bytesOf(t)])).values());

const total = ({ values, session }: GraphMemory): number => values + session;

/** What is shared counts once. */
function heldBytes(graphs: Iterable<GraphMemory>): number {
  const held = new Map<string, number>();
  for (const graph of graphs) for (const [name, bytes] of graph.held) held.set(name, bytes);
  return sum(held.values());
}

export interface ForecastOf {
  readonly pipeline: Pipeline;
  readonly options: PipelineTaskOptions;
  /** The method that trains, and whether weights are averaged too; null where the model is only measured. */
  readonly training: { readonly method: Method<never>; readonly options: never; readonly averaged: boolean } | null;
  /** Rewards that pictures are scored by beside the trained one. */
  readonly judges: readonly Reward[];
}

/** What the text encoders take while prompts are encoded, which is before the training. */
async function encoderMemory({ pipeline, options: { compile } }: ForecastOf): Promise<GraphMemory> {
  const ids = pipeline.textEncoders.map((e, i) => input(`ids_${i}`, [ENCODED_TOGETHER, e.tokenizer.maxLength], 'int64'));
  const outputs = pipeline.family.conditions.encode(pipeline, ids, frozenWeights(), [], pipeline.clipSkip);
  return graphMemory({ outputs }, { ...compile, weights: pipeline.weights });
}

/** What scoring pictures takes; a black box nobody knows. */
async function scorerMemory(reward: Reward, imageShape: readonly number[], { options: { compile } }: ForecastOf): Promise<GraphMemory | null> {
  if (!reward.differentiable) return null;
  const score = reward.trace(input('images', [SCORED_TOGETHER, ...imageShape]));
  return graphMemory({ outputs: { score } }, { ...compile, weights: reward.weights });
}

/**
 * Foretells without opening a session. The method is given zeros for everything it has computed, so what it only compiles
 * after it has seen certain numbers is left out.
 */
export async function forecast(of: ForecastOf): Promise<Forecast> {
  const { pipeline, options, training: trained } = of;
  const { device = 'cpu' } = options.compile;
  const dry = openDryRuntime(options.compile);
  const task = await openPipelineTask(pipeline, { ...options, dry, warn: () => {} });
  await openRollouts(task);
  let own = 0;
  try {
    const rule = trained && await trained.method.create(task, trained.options);
    own = rule?.own ? arrayBytes(rule.own.parameters.values()) : 0;
    for await (const update of rule?.round(new Array<string>(options.microbatch).fill(''), 0) ?? []) void update;
  } catch (error) {
    if (options.compile.signal?.aborted && error === options.compile.signal.reason) throw error;
    // Zeros are no sensible numbers; what was compiled until then counts.
  }
  const graphs = new Map<string, GraphMemory>(dry.graphs);
  const rewards = [options.reward, ...of.judges].flatMap((reward) => reward.parts?.map((part) => part.reward) ?? [reward]);
  for (const reward of new Set(rewards)) {
    const memory = await scorerMemory(reward, task.imageShape, of);
    if (memory) graphs.set(`score of ${reward.name}`, memory);
  }
  const encoder = await encoderMemory(of);
  const training = [...graphs.values()];
  graphs.set('text states', encoder);
  const weights = arrayBytes([pipeline.weights, ...[options.reward, ...of.judges].map((r) => (r.differentiable ? r.weights : new Map<string, HostTensor>()))].flatMap((map) => [...map.values()]));
  const parameters = arrayBytes(task.parameters.values());
  const optimizer = trained ? (COPIES + (trained.averaged ? 2 : 0)) * (parameters + own) : parameters;
  const [held, encoding] = [heldBytes(training), heldBytes([encoder])];
  const fed = 2 * Math.max(...training.map((graph) => graph.fed));
  const common = PROCESS + weights + optimizer;
  const onHost = device === 'cpu';
  // Each session on the CPU keeps what its largest run took; on WebGPU all share one pool; CUDA's sessions keep their own.
  const values = device === 'webgpu' ? Math.max(...training.map((g) => g.values)) : sum(training.map((g) => g.values));
  // Each worker holds what its sessions read, beside the thread that has loaded it, and takes what one thread takes.
  const running = fed + sum(training.map((g) => g.session)) + (onHost ? values + held : 0);
  const inSessions = options.pool ? held + options.pool.workers * (weights + running) : running;
  return {
    weights, held, graphs, optimizer,
    host: common + Math.max(onHost ? total(encoder) + encoding : encoder.session, inSessions),
    device: onHost ? null : Math.max(encoder.values + encoding, values + held),
    flops: Math.max(...training.map((g) => g.flops)),
  };
}
