/** @file A loaded text-to-image pipeline, an adapter and a reward as the task that methods train on. */
import type { HostTensor } from '../graph/dtype.js';
import { host, scalarHost, toFloat32 } from '../graph/dtype.js';
import { grad, vjp } from '../graph/grad.js';
import { liveBytes } from '../graph/live-bytes.js';
import { graphInputs } from '../graph/onnx/export.js';
import { sum } from '../graph/ops/reduce.js';
import { input } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import { cutsOf, inCuts } from '../methods/cuts.js';
import type { Executor, GraphFacts } from '../methods/cuts.js';
import type { SampleReward, Task, TaskExecutable } from '../methods/task.js';
import { decodeImages } from '../models/latents.js';
import { denoiserOf, latentFactor, latentShape, vaeScope } from '../models/pipeline.js';
import type { Pipeline } from '../models/pipeline.js';
import { largestRank, loraAdapter, loraParameters, planByTargets } from '../nn/lora.js';
import type { LoraAdapter, LoraOptions } from '../nn/lora.js';
import { initialLora } from '../nn/lora-values.js';
import { LOSS_SCALE } from '../nn/precision.js';
import { frozenWeights, trainableWeights } from '../nn/scope.js';
import type { Adapter, WeightSource } from '../nn/scope.js';
import { checkScores, RewardError } from '../rewards/reward.js';
import { takeRows } from '../rewards/rows.js';
import type { BlackBoxReward, DifferentiableReward, Reward } from '../rewards/reward.js';
import type { Execution, Feeds } from '../runtime/compile.js';
import { openRuntime } from '../runtime/runtime.js';
import { isGuided, NEGATIVE, openConditions, POSITIVE } from '../models/conditions.js';
import { guidedInputs } from '../sampling/guided.js';
import type { Process } from '../schedulers/process.js';
import type { Plan, Step } from '../schedulers/plan.js';
import { ConfigError } from '../formats/errors.js';
import { auxiliaryNetwork } from './auxiliary.js';
import { openTaskData } from './task-data.js';

/** What is trained: a LoRA on the denoiser, or all of its weights. */
export type Adaptation = { readonly kind: 'lora'; readonly options: LoraOptions } | { readonly kind: 'full' };

export interface PipelineTaskOptions {
  /** Items that a compiled graph holds at once. */
  microbatch: number;
  seed: number;
  process: Process;
  plan: Plan;
  /** Classifier-free guidance; up to 1 is none, and saves half of the network calls. */
  guidance: number;
  negativePrompt: string;
  height: number;
  width: number;
  /** null: nothing is trained, and the tuned network is the reference. */
  adaptation: Adaptation | null;
  reward: Reward;
  /** Recompute the inside of each block in backward passes. */
  checkpointing: boolean;
  compile: Execution;
  /** Who computes the cuts of a round, and when; default: this process, in order. */
  executor?: Executor;
  /** Told of captions that are cut and files that are passed over. */
  warn?: (text: string) => void;
}

export interface PipelineTask extends Task {
  readonly pipeline: Pipeline;
  /** The LoRA that is trained; null for full fine-tuning, or where nothing is trained. */
  readonly adapter: LoraAdapter | null;
  /** [3, H, W] */
  readonly imageShape: readonly number[];
  /** Images of any number of samples [B, C, h, w] → [B, 3, H, W] in [0, 1]. */
  decode(samples: HostTensor): Promise<HostTensor>;
  readonly parameters: Map<string, HostTensor>;
  /** How strongly the adapter acts from now on; 0 is the base model. */
  setStrength(value: number): void;
  /** What gradients are multiplied by in float16 from now on (they come out without it); absent where nothing is computed in float16. */
  setLossScale?(value: number): void;
  /** Encodes prompts in advance, in the order in which they will be asked for; as many as are remembered. */
  prepare(prompts: readonly string[]): Promise<void>;
  /** Sessions opened so far for the task's graphs. */
  readonly sessions: number;
  release(): Promise<void>;
}

const ADAPTER = 'lora';

/** The network with and without what is trained, over one set of frozen weights. */
function networks(pipeline: Pipeline, adaptation: Adaptation | null, checkpointing: boolean) {
  const frozen = frozenWeights();
  const symbols = new Map<string, Tensor>();
  const build = (source: WeightSource, adapters: readonly Adapter[]) =>
    denoiserOf(pipeline, source, adapters, { checkpointing });
  const reference = build(frozen, []);
  if (!adaptation) return { frozen, symbols, adapter: null, layers: new Set<string>(), reference, tuned: reference };
  if (adaptation.kind === 'full') {
    const source = trainableWeights('tuned/', (name, t) => symbols.set(`tuned/${name}`, t));
    return { frozen, symbols, adapter: null, layers: new Set<string>(), reference, tuned: build(source, []) };
  }
  const plan = planByTargets(adaptation.options);
  const layers = new Set<string>();
  const adapter = loraAdapter(ADAPTER, (path) => {
    layers.add(path);
    return plan(path);
  });
  return { frozen, symbols, adapter, layers, reference, tuned: build(frozen, [adapter]) };
}

/**
 * Bytes that an update needs for each item that a graph holds, estimated from the graphs: through network, decoder and
 * reward and back.
 */
export function updateBytes(pipeline: Pipeline, options: Omit<PipelineTaskOptions, 'microbatch'>): number {
  const [, ...sampleShape] = latentShape(pipeline, 1, options.height, options.width);
  const nets = networks(pipeline, options.adaptation, options.checkpointing);
  const [x, cotangent] = [input('x', [1, ...sampleShape]), input('cotangent', [1, ...sampleShape])];
  const output = guidedInputs(pipeline, 1, options.guidance).output(nets.tuned, x, input('t', [1]));
  const trained = nets.adapter ? [...loraParameters(nets.adapter).values()] : [...nets.symbols.values()];
  const pulled = vjp([output], [x, ...trained], [cotangent]);
  const network = liveBytes(Object.fromEntries(pulled.map((t, i) => [`${i}`, t])));
  if (!options.reward.differentiable) return network;
  const images = decodeImages(vaeScope(pipeline, frozenWeights()), pipeline.vae, x, { checkpointing: options.checkpointing });
  return network + liveBytes({ gradient: grad(sum(options.reward.trace(images)), [x])[0]! });
}

/** @param layers paths of all layers that could be adapted @throws ConfigError for targets or ranks that make no sense */
function checkLora(adapter: LoraAdapter, { rank, targets }: LoraOptions, layers: ReadonlySet<string>): void {
  if (adapter.layers.size === 0) {
    const ends = [...new Set([...layers].map((path) => path.split('.').filter((part) => !/^\d+$/.test(part)).at(-1)!))];
    throw new ConfigError(`lora.targets: no layer's path ends in ${targets.join(' or ')}. There are layers that end in `
      + `${ends.slice(0, 20).join(', ')}; a whole path is for instance ${[...layers][0] ?? 'none'}`);
  }
  const largest = largestRank(adapter);
  if (rank > largest) throw new ConfigError(`lora.rank: ${rank} is more than any of the adapted layers has room for; take at most ${largest}`);
}

/** Opens a task. A prompt that was not prepared is encoded on first use and then remembered. */
export async function openPipelineTask(pipeline: Pipeline, options: PipelineTaskOptions): Promise<PipelineTask> {
  const { microbatch, guidance, plan, adaptation, reward } = options;
  const guided = isGuided(pipeline, guidance);
  const [, ...sampleShape] = latentShape(pipeline, microbatch, options.height, options.width);
  const factor = latentFactor(pipeline);
  const imageShape = [3, sampleShape[1]! * factor, sampleShape[2]! * factor];
  const { frozen, symbols, adapter, layers, reference, tuned } = networks(pipeline, adaptation, options.checkpointing);
  const conditioned = guidedInputs(pipeline, microbatch, guidance);
  const network: Task['network'] = (x, step, which, { guided: wanted } = {}) =>
    conditioned.output(which === 'tuned' ? tuned : reference, x, step.timestep, wanted);

  // Tracing once tells which layers the adapter sits on.
  const probe = { timestep: input('t', [microbatch]) } as unknown as Step<Tensor>;
  network(input('x', [microbatch, ...sampleShape]), probe, 'tuned');
  if (adapter) for (const [name, t] of loraParameters(adapter)) symbols.set(name, t);
  if (adapter && adaptation?.kind === 'lora') checkLora(adapter, adaptation.options, layers);
  const conditions = await openConditions(pipeline, { ...options, negativePrompt: guided ? options.negativePrompt : null });
  const parameters = adapter
    ? initialLora(adapter, options.seed)
    : new Map([...symbols.keys()].map((name): [string, HostTensor] => {
      const t = pipeline.weights.get(name.slice('tuned/'.length))!;
      return [name, host(toFloat32(t).slice(), t.shape)];
    }));
  let strength: Feeds = { [`${ADAPTER}.scale`]: scalarHost(1) };
  let lossScale: Feeds = { [LOSS_SCALE.node.name!]: scalarHost(1) };

  const decodeLatents = (latents: Tensor): Tensor =>
    decodeImages(vaeScope(pipeline, frozen), pipeline.vae, latents, { checkpointing: options.checkpointing });
  const latents = input('latents', [microbatch, ...sampleShape]);
  const images = decodeLatents(latents);
  // A reward knows its weights once it has been traced; further traces read the same ones.
  const score = reward.differentiable ? reward.trace(images) : null;
  const weights = new Map([...pipeline.weights, ...(reward.differentiable ? reward.weights : [])]);

  const runtime = openRuntime(options.compile);
  async function compileGraph<O extends string>(
    outputs: Readonly<Record<O, Tensor>>, facts?: GraphFacts<O>,
  ): Promise<TaskExecutable<O>> {
    const executable = await runtime.compile(outputs, { weights, hideShapes: options.checkpointing });
    const readsPrompts = [...graphInputs({ outputs }).keys()].some((name) => name.startsWith(POSITIVE) || name.startsWith(NEGATIVE));
    const held: TaskExecutable<O>['run'] = async (feeds, prompts) => {
      const read = readsPrompts ? await conditions.feeds(prompts) : {};
      return executable.run({ ...Object.fromEntries(parameters), ...strength, ...lossScale, ...read, ...feeds });
    };
    return { run: inCuts(outputs, held, microbatch, facts, options.executor), release: () => executable.release() };
  }

  const decoder = await compileGraph({ images });
  const { data, release: releaseData } = openTaskData(pipeline, {
    microbatch, seed: options.seed, size: options.height, compile: compileGraph, warn: options.warn ?? (() => {}),
  });
  const record: SampleReward['record'] = (scores, prompts) => {
    checkScores(reward.name, scores, prompts);
    return scores;
  };
  const decode = async (samples: HostTensor): Promise<HostTensor> =>
    (await decoder.run({ latents: samples }, new Array<string>(samples.shape[0]!).fill(''))).images;
  const rewards = reward.differentiable
    ? openTracedReward(reward, latents, score!, decodeLatents, compileGraph, record)
    : { reward: blackBoxReward(reward, decode, microbatch, record, options.compile.signal), release: async () => {} };

  return {
    pipeline, adapter, imageShape, sampleShape, microbatch, plan, parameters, symbols, network, data,
    auxiliary: (name) => auxiliaryNetwork(pipeline, name, conditioned.positive, options.seed),
    seed: options.seed,
    callsPerSample: guided ? 2 : 1,
    process: options.process,
    reward: rewards.reward,
    compile: compileGraph,
    decode,
    prepare: conditions.prepare,
    get sessions() {
      return runtime.opened;
    },
    setStrength(value) {
      strength = { [`${ADAPTER}.scale`]: scalarHost(value) };
    },
    ...(pipeline.precision?.compute === 'float16' && {
      setLossScale(value: number) {
        lossScale = { [LOSS_SCALE.node.name!]: scalarHost(value) };
      },
    }),
    async release() {
      await decoder.release();
      await rewards.release();
      await releaseData();
      await conditions.release();
    },
  };
}

/** An executable that is made on first use. */
function once<O extends string>(make: () => Promise<TaskExecutable<O>>) {
  let made: Promise<TaskExecutable<O>> | null = null;
  return {
    get: (): Promise<TaskExecutable<O>> => (made ??= make()),
    release: async (): Promise<void> => (await made?.catch(() => null))?.release(),
  };
}

/** The reward of latents by decoding them and asking the black box. */
function blackBoxReward(
  reward: BlackBoxReward, decode: (samples: HostTensor) => Promise<HostTensor>, microbatch: number, record: SampleReward['record'],
  signal: AbortSignal | undefined,
): SampleReward {
  const refuse = (): never => {
    throw new RewardError(`reward ${reward.name} is a black box: it has no gradient. Use ddpo, d3po, dpo or sharpen-rlhf`);
  };
  return {
    differentiable: false,
    async score(samples, prompts) {
      const scores = new Float32Array(prompts.length);
      // No more images at a time than a graph makes: they are large.
      for (const { from, count } of cutsOf(prompts.length, microbatch)) {
        const own = prompts.slice(from, from + count);
        scores.set(record(await reward.score(await decode(takeRows(samples, from, count)), own, signal), own), from);
      }
      return scores;
    },
    gradient: async () => refuse(),
    trace: refuse,
    feeds: async () => refuse(),
    record,
  };
}

/** The reward of latents with decoder and reward in one graph, `score` [B] of `latents`. */
function openTracedReward(
  reward: DifferentiableReward, latents: Tensor, score: Tensor, decode: (latents: Tensor) => Tensor, compileGraph: Task['compile'],
  record: SampleReward['record'],
): { reward: SampleReward; release(): Promise<void> } {
  const gradient = grad(sum(score), [latents])[0]!;
  // Compiled when first asked for: searches never need the gradient, some methods neither.
  const both = once(() => compileGraph({ score, gradient }, { feeds: (prompts) => reward.feeds(prompts) }));
  const forward = once(() => compileGraph({ score }, { feeds: (prompts) => reward.feeds(prompts) }));
  return {
    reward: {
      differentiable: true,
      async score(samples, prompts) {
        const result = await (await forward.get()).run({ latents: samples }, prompts);
        return record(result.score.data, prompts);
      },
      async gradient(samples, prompts) {
        const result = await (await both.get()).run({ latents: samples }, prompts);
        return { score: record(result.score.data, prompts), gradient: result.gradient };
      },
      trace: (samples) => reward.trace(decode(samples)),
      feeds: (prompts) => reward.feeds(prompts),
      record,
    },
    async release() {
      await both.release();
      await forward.release();
    },
  };
}
