/**
 * @file A family that src knows nothing of: a patch transformer that is told words [B, N, D], a summary [B, D] and the sides
 * of the picture [B, 2]. `registerFamily` is all that it takes.
 */
import { z } from 'zod';
import { host } from '../../src/graph/dtype.js';
import { add, mul } from '../../src/graph/ops/arithmetic.js';
import { silu } from '../../src/graph/ops/activation.js';
import { reshape, transpose } from '../../src/graph/ops/layout.js';
import { mean } from '../../src/graph/ops/reduce.js';
import { input } from '../../src/graph/tensor.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { clipText } from '../../src/models/clip-text.js';
import type { ClipTextConfig } from '../../src/models/config.js';
import type { ModelFamily } from '../../src/models/families/family.js';
import { registerFamily } from '../../src/models/families/registry.js';
import { partScope } from '../../src/models/pipeline.js';
import { DIFFUSION_PROJECTIONS, multiHeadAttention } from '../../src/nn/attention.js';
import { conv } from '../../src/nn/conv.js';
import { embeddingMlp, sinusoid } from '../../src/nn/embedding.js';
import { linear } from '../../src/nn/linear.js';
import type { Scope } from '../../src/nn/scope.js';

const schema = z.object({
  in_channels: z.int().default(4),
  width: z.int().default(8),
  layers: z.int().default(2),
  words: z.int().default(16),
  sample_size: z.int().default(8),
});
export type ToyConfig = z.infer<typeof schema>;

declare module '../../src/models/components.js' {
  interface ComponentConfigs {
    ToyTransformer: ToyConfig;
  }
}

const PATCH = 2;

/** [B, D, N] */
function toyTokens(scope: Scope, config: ToyConfig, latents: Tensor, timestep: Tensor, told: Readonly<Record<string, Tensor>>): Tensor {
  const { width } = config;
  const [batch, , h, w] = latents.shape as [number, number, number, number];
  const tokens = (h / PATCH) * (w / PATCH);
  const patches = conv(scope.at('patch_embed'), latents, width, { kernel: PATCH, stride: PATCH, padding: 0 }); // [B, D, h/2, w/2]
  let x = transpose(reshape(patches, [batch, width, tokens]), [0, 2, 1]); // [B, N, D]
  const time = embeddingMlp(scope.at('time'), sinusoid(timestep, width), width); // [B, D]
  const summary = linear(scope.at('summary_in'), told['summary']!, width);
  const sides = linear(scope.at('sides_in'), mul(told['sides']!, 1 / 64), width);
  x = add(x, reshape(add(add(time, summary), sides), [batch, 1, width]));
  for (let i = 0; i < config.layers; i++) {
    const block = scope.at('blocks').at(i);
    x = add(x, multiHeadAttention(block.at('attn'), x, { heads: 2, names: DIFFUSION_PROJECTIONS, context: told['words']! }));
    x = add(x, linear(block.at('out'), silu(linear(block.at('in'), x, 2 * width)), width));
  }
  return transpose(x, [0, 2, 1]);
}

function toyNetwork(scope: Scope, config: ToyConfig, latents: Tensor, timestep: Tensor, told: Readonly<Record<string, Tensor>>): Tensor {
  const { in_channels: channels } = config;
  const [batch, , h, w] = latents.shape as [number, number, number, number];
  const x = transpose(toyTokens(scope, config, latents, timestep, told), [0, 2, 1]);
  const out = linear(scope.at('unpatch'), x, PATCH * PATCH * channels); // [B, N, 2·2·C]
  const grid = reshape(out, [batch, h / PATCH, w / PATCH, PATCH, PATCH, channels]);
  return reshape(transpose(grid, [0, 5, 1, 3, 2, 4]), [batch, channels, h, w]);
}

const TARGETS = ['to_q', 'to_v', 'unpatch'];

export const toy: ModelFamily<ToyConfig> = {
  name: 'toy',
  listed: [{ name: 'Toy', from: ['folder'], notes: 'only in tests' }],
  components: {
    ToyTransformer: {
      schema,
      touch: (scope, config) => void toyNetwork(scope, config, input('x', [1, config.in_channels, PATCH, PATCH]), input('t', [1]), {
        words: input('words', [1, 1, config.words]), summary: input('summary', [1, config.words]), sides: input('sides', [1, 2]),
      }),
    },
  },
  denoiser: {
    part: 'transformer',
    kinds: ['ToyTransformer'],
    network: (scope, config) => (latents, timestep, condition) => toyNetwork(scope, config, latents, timestep, condition),
    features: (scope, config) => (latents, timestep, condition) => toyTokens(scope, { ...config, layers: config.layers >> 1 }, latents, timestep, condition),
    channels: (config) => config.in_channels,
    patch: PATCH,
    nativeSides: ({ sample_size: side }) => [side, side],
    small: (config) => ({ ...config, layers: 1 }),
    zeroAtFirst: /^unpatch\./,
  },
  process: 'rectified-flow',
  conditions: {
    skippedLayers: 0,
    shapes: ({ denoiser: { config }, textEncoders }, batch) => ({
      words: [batch, textEncoders[0]!.tokenizer.maxLength, config.words], summary: [batch, config.words], sides: [batch, 2],
    }),
    encode({ textEncoders }, ids, source, adapters) {
      const { name, config } = textEncoders[0]!;
      const { last } = clipText(partScope(name, source, adapters), config as ClipTextConfig, ids[0]!);
      return { words: last, summary: mean(last, { axes: [1] }) };
    },
    settings: ({ height, width }, batch) => ({
      sides: host(Float32Array.from({ length: 2 * batch }, (_, i) => (i % 2 === 0 ? height : width)), [batch, 2]),
    }),
  },
  folder: {
    pipelines: ['ToyPipeline'],
    owns: () => true,
    textEncoders: [{ name: 'text_encoder', kinds: ['CLIPTextModel'] }],
    scheduler: () => ({}),
    zeroEmptyNegative: () => false,
    index: () => ({ _class_name: 'ToyPipeline' }),
    misfit: ({ words }, [encoder]) => (encoder!.config.hidden_size === words ? null : 'the words have another width'),
  },
  lora: { attention: TARGETS, baseModel: () => undefined, dialects: ['diffusers', 'peft'] },
  defaults: { guidance: 3, size: [64, 64], training: { guidance: 2, samplingSteps: 3, lora: { targets: TARGETS } } },
};

registerFamily(toy);
