/** @file A small U-Net beside the denoiser's: ∇-DB's flow network g_φ (algorithms.md §1.3). */
import type { HostTensor } from '../graph/dtype.js';
import { mul } from '../graph/ops/arithmetic.js';
import type { Tensor } from '../graph/tensor.js';
import type { Auxiliary } from '../methods/task.js';
import { componentShapes } from '../models/components.js';
import type { UNetConfig } from '../models/config.js';
import { unetDenoiser } from '../models/denoiser.js';
import type { Condition } from '../models/denoiser.js';
import { initialWeights } from '../models/init.js';
import type { Pipeline } from '../models/pipeline.js';
import { rootScope, trainableWeights } from '../nn/scope.js';

/** The published flow network has 64, 128, 256, 256 channels beside Stable Diffusion's 320, 640, 1280, 1280. */
const SHRINK = 5;

const commonDivisor = (a: number, b: number): number => (b === 0 ? a : commonDivisor(b, a % b));

/** The pipeline's own U-Net with one layer a block and a fifth of the channels, in whole norm groups and heads. */
function smallConfig(unet: UNetConfig): UNetConfig {
  const groups = unet.norm_num_groups;
  const channels = unet.block_out_channels.map((c) => Math.max(1, Math.ceil(c / SHRINK / groups)) * groups);
  const heads = unet.attention_head_dim; // the number of heads, in spite of its name
  return {
    ...unet,
    layers_per_block: 1,
    block_out_channels: channels,
    attention_head_dim: channels.map((c, i) => commonDivisor(c, typeof heads === 'number' ? heads : heads[i]!)),
  };
}

/** A condition with text embeddings of zeros; its inputs stay. */
export function promptless(condition: Condition): Condition {
  const { context, pooled } = condition;
  return { ...condition, context: mul(context!, 0), ...(pooled && { pooled: mul(pooled, 0) }) };
}

/** Zero at first: the last convolution starts at zero, as intended (but not done) in the published code. */
export function auxiliaryNetwork(pipeline: Pipeline, name: string, condition: Condition, seed: number): Auxiliary {
  const config = smallConfig(pipeline.unet);
  const prefix = `${name}/`;
  const symbols = new Map<string, Tensor>();
  const source = trainableWeights(prefix, (weight, t) => symbols.set(prefix + weight, t));
  const network = unetDenoiser(rootScope(source), config);
  const initial = initialWeights(componentShapes('UNet2DConditionModel', config), seed);
  const parameters = new Map([...initial].map(([weight, t]): [string, HostTensor] => [prefix + weight, t]));
  return { parameters, symbols, output: (x, step) => network(x, step.timestep, condition) };
}
