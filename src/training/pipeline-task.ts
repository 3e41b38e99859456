/** @file A loaded text-to-image pipeline, what is trained of it and a reward as the task that methods train on. */
import type { HostTensor } from '../graph/dtype.js';
import { host, scalarHost, toFloat32 } from '../graph/dtype.js';
import { input } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import { openPolicy } from '../methods/policy.js';
import type { Task } from '../methods/task.js';
import { denoiserOf, latentShape } from '../models/pipeline.js';
import type { Pipeline } from '../models/pipeline.js';
import { largestRank, loraAdapter, loraParameters, planByTargets } from '../nn/lora.js';
import type { LoraAdapter, LoraOptions } from '../nn/lora.js';
import { initialLora } from '../nn/lora-values.js';
import { LOSS_SCALE } from '../nn/precision.js';
import { frozenWeights, trainableWeights } from '../nn/scope.js';
import type { Adapter, WeightSymbols } from '../nn/scope.js';
import type { Feeds } from '../runtime/compile.js';
import { releasedOnFailure } from '../host/resources.js';
import { guidedInputs } from '../sampling/guided.js';
import { openSampling } from '../sampling/model.js';
import type { PipelineSampling, SamplingOptions } from '../sampling/model.js';
import { ConfigError } from '../formats/errors.js';
import { auxiliaryNetwork } from './auxiliary.js';
import { openTaskData } from './task-data.js';

/** What is trained: a LoRA on the denoiser, or all of its weights. */
export type Adaptation = { readonly kind: 'lora'; readonly options: LoraOptions } | { readonly kind: 'full' };

export interface PipelineTaskOptions extends SamplingOptions {
  adaptation: Adaptation;
  /** Recompute the inside of each block in backward passes. */
  checkpointing: boolean;
  /** Told of captions that are cut and files that are passed over. */
  warn?: (text: string) => void;
}

export interface PipelineTask extends Task, PipelineSampling {
  /** The LoRA that is trained; null for full fine-tuning. */
  readonly adapter: LoraAdapter | null;
  readonly parameters: Map<string, HostTensor>;
  /** How strongly the adapter acts from now on; 0 is the base model. */
  setStrength(value: number): void;
  /** What gradients are multiplied by in float16 from now on (they come out without it); absent where nothing is computed in float16. */
  setLossScale?(value: number): void;
}

const ADAPTER = 'lora';

/** The network with what is trained, and the inputs that this comes in through; frozen weights come in as for the network without. */
function tunedNetwork(pipeline: Pipeline, adaptation: Adaptation, checkpointing: boolean) {
  const frozen = frozenWeights();
  const symbols = new Map<string, Tensor>();
  const build = (source: WeightSymbols, adapters: readonly Adapter[]) =>
    denoiserOf(pipeline, source, adapters, { checkpointing });
  const layers = new Set<string>();
  if (adaptation.kind === 'full') {
    const source = trainableWeights('tuned/', (name, t) => symbols.set(`tuned/${name}`, t));
    return { frozen, symbols, adapter: null, layers, denoiser: build(source, []) };
  }
  const plan = planByTargets(adaptation.options);
  const adapter = loraAdapter(ADAPTER, (path) => {
    layers.add(path);
    return plan(path);
  });
  return { frozen, symbols, adapter, layers, denoiser: build(frozen, [adapter]) };
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

/** Opens a task: the pipeline for sampling, with what is trained in its network. */
export function openPipelineTask(pipeline: Pipeline, options: PipelineTaskOptions): Promise<PipelineTask> {
  return releasedOnFailure(async (resources) => {
    const { microbatch, guidance, adaptation, seed } = options;
    const { frozen, symbols, adapter, layers, denoiser } = tunedNetwork(pipeline, adaptation, options.checkpointing);
    // Tracing once tells which layers the adapter sits on.
    const x = input('x', latentShape(pipeline, microbatch, options.height, options.width));
    guidedInputs(pipeline, microbatch, guidance).output(denoiser, x, input('t', [microbatch]));
    if (adapter) for (const [name, t] of loraParameters(adapter)) symbols.set(name, t);
    if (adapter && adaptation.kind === 'lora') checkLora(adapter, adaptation.options, layers);
    const parameters = adapter
      ? initialLora(adapter, seed)
      : new Map([...symbols.keys()].map((name): [string, HostTensor] => {
        const t = pipeline.weights.get(name.slice('tuned/'.length))!;
        return [name, host(toFloat32(t).slice(), t.shape)];
      }));
    let strength: Feeds = { [`${ADAPTER}.scale`]: scalarHost(1) };
    let lossScale: Feeds = {};
    const sampling = resources.use(await openSampling(pipeline, options, {
      frozen, denoiser, feeds: () => ({ ...Object.fromEntries(parameters), ...strength, ...lossScale }),
      // All weights, of full fine-tuning, would be held a second time on the host to be compared with.
      keeps: (name) => adapter !== null && parameters.has(name),
    }));
    const { data, release: releaseData } = openTaskData(pipeline, {
      microbatch, seed, size: options.height, compile: sampling.compile, warn: options.warn ?? (() => {}),
    });
    resources.use({ release: releaseData });
    return {
      ...sampling, ...openPolicy(parameters, symbols), adapter, data,
      get sessions() {
        return sampling.sessions;
      },
      auxiliary: (name) => auxiliaryNetwork(pipeline, name, sampling.condition, seed),
      setStrength(value) {
        strength = { [`${ADAPTER}.scale`]: scalarHost(value) };
      },
      ...(pipeline.precision?.compute === 'float16' && {
        setLossScale(value: number) {
          lossScale = { [LOSS_SCALE.node.name!]: scalarHost(value) };
        },
      }),
      release: () => resources.release(),
    };
  });
}
