/** @file A loaded pipeline as a model that samples: network, decoder, reward and what compiles them. Nothing of it is trained. */
import type { HostTensor } from '../graph/dtype.js';
import { scalarHost } from '../graph/dtype.js';
import { graphInputs } from '../graph/onnx/export.js';
import { input } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import { inCuts } from '../methods/cuts.js';
import type { GraphFacts } from '../methods/cuts.js';
import type { SampleReward, Sampling, TaskExecutable } from '../methods/task.js';
import { atOnce, openWork } from '../methods/work.js';
import type { Condition, Denoiser } from '../models/denoiser.js';
import { decodeImages } from '../models/latents.js';
import { denoiserOf, latentFactor, latentShape, vaeScope } from '../models/pipeline.js';
import type { Pipeline } from '../models/pipeline.js';
import { LOSS_SCALE } from '../nn/precision.js';
import { frozenWeights } from '../nn/scope.js';
import type { WeightSymbols } from '../nn/scope.js';
import { checkScores } from '../rewards/reward.js';
import type { Reward } from '../rewards/reward.js';
import type { Execution, Feeds } from '../runtime/compile.js';
import { releasedOnFailure } from '../host/resources.js';
import { openDeviceCopies } from '../runtime/device-copies.js';
import { openRuntime } from '../runtime/runtime.js';
import type { Runtime } from '../runtime/runtime.js';
import type { SessionPool } from '../runtime/session-pool.js';
import type { Plan } from '../schedulers/plan.js';
import type { Process } from '../schedulers/process.js';
import { isGuided, NEGATIVE, openConditions, POSITIVE } from '../models/conditions.js';
import type { Conditions } from '../models/conditions.js';
import { guidedInputs } from './guided.js';
import { blackBoxReward, hearing, openTracedReward } from './sample-reward.js';
import type { Hear } from './sample-reward.js';

/** A network that is sampled with in place of the pipeline's own, which stays the reference. */
export interface Tuned {
  readonly denoiser: Denoiser;
  /** Where the frozen weights of both come in. */
  readonly frozen: WeightSymbols;
  /** What it is fed beside them, at this moment. */
  feeds(): Feeds;
  /** Those of them that are few numbers, and the same in many runs: GPUs keep them. */
  keeps(name: string): boolean;
}

export interface SamplingOptions {
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
  reward: Reward;
  /** Hears of every score that methods get, with what each reward of a sum gave. */
  hear?: Hear | null;
  /** Recompute the inside of each block in backward passes; of no use without any. Default: false. */
  checkpointing?: boolean;
  compile: Execution;
  /** Where graphs go instead of being compiled, to see what they would take; prompts are not encoded then. */
  dry?: Runtime;
  /** Workers that compute the cuts of a round; default: this thread, in order. */
  pool?: SessionPool | undefined;
}

/** Of graphs that are not run. */
const NO_CONDITIONS: Conditions = { prepare: async () => {}, feeds: async () => ({}), release: async () => {} };

export interface PipelineSampling extends Sampling {
  readonly pipeline: Pipeline;
  /** [3, H, W] */
  readonly imageShape: readonly number[];
  /** What the prompts come in through. */
  readonly condition: Condition;
  /** Images of any number of samples [B, C, h, w] → [B, 3, H, W] in [0, 1]. */
  decode(samples: HostTensor): Promise<HostTensor>;
  /** Encodes prompts in advance, in the order in which they will be asked for; as many as are remembered. */
  prepare(prompts: Iterable<string>): Promise<void>;
  /** Sessions opened so far. */
  readonly sessions: number;
  release(): Promise<void>;
}

/**
 * Opens a pipeline for sampling. A prompt that was not prepared is encoded on first use and then remembered.
 *
 * @param tuned null: the pipeline's own network is both the tuned one and the reference
 */
export function openSampling(pipeline: Pipeline, options: SamplingOptions, tuned: Tuned | null = null): Promise<PipelineSampling> {
  return releasedOnFailure(async (resources) => {
    const { microbatch, guidance, plan, process, seed, reward, checkpointing = false } = options;
    const guided = isGuided(pipeline, guidance);
    const [, ...sampleShape] = latentShape(pipeline, microbatch, options.height, options.width);
    const factor = latentFactor(pipeline);
    const frozen = tuned?.frozen ?? frozenWeights();
    const reference = denoiserOf(pipeline, frozen, [], { checkpointing });
    const conditioned = guidedInputs(pipeline, microbatch, guidance);
    const conditions = options.dry ? NO_CONDITIONS : resources.use(
      await openConditions(pipeline, { ...options, negativePrompt: guided ? options.negativePrompt : null }));

    const decodeLatents = (latents: Tensor): Tensor => decodeImages(vaeScope(pipeline, frozen), pipeline.vae, latents, { checkpointing });
    const latents = input('latents', [microbatch, ...sampleShape]);
    const images = decodeLatents(latents);
    // A reward knows its weights once it has been traced; further traces read the same ones.
    const heard = hearing(options.hear ?? null);
    const trace = (of: Tensor): Tensor => (reward.differentiable ? heard.traced(reward, of) : images);
    const score = reward.differentiable ? trace(images) : null;
    const weights = new Map([...pipeline.weights, ...(reward.differentiable ? reward.weights : [])]);

    const runtime = options.dry ?? openRuntime({ ...options.compile, pool: options.pool });
    const readsPrompt = (name: string): boolean => name.startsWith(POSITIVE) || name.startsWith(NEGATIVE);
    const copies = options.compile.device === 'webgpu'
      ? resources.use(openDeviceCopies((name) => readsPrompt(name) || tuned?.keeps(name) === true)) : undefined;
    const executor = options.pool && atOnce(options.pool.workers);
    const work = openWork(executor, options.pool?.workers);
    const unscaled: Feeds = { [LOSS_SCALE.node.name!]: scalarHost(1) };
    async function compile<O extends string>(
      outputs: Readonly<Record<O, Tensor>>, facts: GraphFacts<O> = {}, of = work,
    ): Promise<TaskExecutable<O>> {
      const all = heard.withParts(outputs);
      const executable = await runtime.compile(all, { weights, hideShapes: checkpointing, copies });
      const readsPrompts = [...graphInputs({ outputs: all }).keys()].some(readsPrompt);
      const held: TaskExecutable<O>['run'] = async (feeds, prompts) => {
        const read = readsPrompts ? await conditions.feeds(prompts) : {};
        return executable.run({ ...unscaled, ...tuned?.feeds(), ...read, ...feeds });
      };
      return { run: heard.kept(outputs, inCuts(all, held, microbatch, facts, of)), release: () => executable.release() };
    }

    // Whoever wants images decodes them himself.
    const decoder = resources.use(await compile({ images }, {}, openWork(executor)));
    const decode = async (samples: HostTensor): Promise<HostTensor> =>
      (await decoder.run({ latents: samples }, new Array<string>(samples.shape[0]!).fill(''))).images;
    const record: SampleReward['record'] = (scores, prompts) => {
      checkScores(reward.name, scores, prompts);
      heard.tell(scores);
      return scores;
    };
    const rewards = reward.differentiable
      ? resources.use(openTracedReward(reward, latents, score!, (samples) => trace(decodeLatents(samples)), compile, record))
      : { reward: blackBoxReward(reward, decode, { microbatch, record, work, hear: options.hear ?? null, signal: options.compile.signal }) };

    return {
      pipeline, sampleShape, microbatch, work, plan, process, seed, compile, decode,
      imageShape: [3, sampleShape[1]! * factor, sampleShape[2]! * factor],
      condition: conditioned.positive,
      callsPerSample: guided ? 2 : 1,
      network: (x, step, which, { guided: wanted } = {}) =>
        conditioned.output(which === 'tuned' ? (tuned?.denoiser ?? reference) : reference, x, step.timestep, wanted),
      reward: rewards.reward,
      prepare: conditions.prepare,
      get sessions() {
        return runtime.opened;
      },
      release: () => resources.release(),
    };
  });
}
