/** @file Stable Diffusion 1.5's whole architecture with random weights, and the bundled model where a small one is asked for. */
import { fromFloat32, host, sizeOf } from '../src/graph/dtype.js';
import type { HostTensor, Shape } from '../src/graph/dtype.js';
import { mul, square } from '../src/graph/ops/arithmetic.js';
import { sum } from '../src/graph/ops/reduce.js';
import { weight } from '../src/graph/tensor.js';
import { componentSchema, componentShapes } from '../src/models/components.js';
import type { ComponentClass } from '../src/models/components.js';
import { parseConfig } from '../src/models/config.js';
import { emoji } from '../src/loading/bundled.js';
import type { ModelFamily } from '../src/models/families/family.js';
import { sd1 } from '../src/models/families/sd.js';
import { loadPipeline } from '../src/loading/load.js';
import type { Pipeline } from '../src/models/pipeline.js';
import { PRECISIONS } from '../src/nn/precision.js';
import type { PrecisionName } from '../src/nn/precision.js';
import type { Reward } from '../src/rewards/reward.js';

const { configs } = sd1.singleFile!.published!;
const KINDS = { unet: 'UNet2DConditionModel', vae: 'AutoencoderKL', text_encoder: 'CLIPTextModel' } as const;

/** Numbers between -1 and 1, made once: the same in every process. */
function table(): Float32Array {
  const values = new Float32Array(1 << 20);
  let state = 1;
  for (let i = 0; i < values.length; i++) {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    values[i] = state / 0x40000000 - 1;
  }
  return values;
}

/** Numbers of the size that keeps activations finite; norms' weights are 1, biases 0. */
function numbers(shape: Shape, name: string, from: Float32Array, start: number): HostTensor {
  const data = new Float32Array(sizeOf(shape));
  if (shape.length === 1) return host(data.fill(name.endsWith('weight') ? 1 : 0), shape);
  const scale = Math.sqrt(3 / Math.max(1, sizeOf(shape.slice(1))));
  for (let i = 0; i < data.length; i++) data[i] = scale * from[(start + i) & (from.length - 1)]!;
  return host(data, shape);
}

/** @param small the bundled model instead, with its own weights */
export async function randomPipeline(precision: PrecisionName, small: boolean): Promise<Pipeline> {
  const policy = PRECISIONS[precision];
  if (small) return loadPipeline('emoji', { precision: policy });
  const bundled = await loadPipeline('emoji');
  const from = table();
  const config = (part: keyof typeof KINDS): never => parseConfig(componentSchema(KINDS[part] as ComponentClass), configs[part], part) as never;
  const weights = new Map<string, HostTensor>();
  for (const part of Object.keys(KINDS) as (keyof typeof KINDS)[]) {
    for (const [name, shape] of componentShapes(KINDS[part], config(part))) {
      const value = numbers(shape, name, from, weights.size * 7919);
      weights.set(`${part}.${name}`, shape.length < 2 ? value : fromFloat32(value.data as Float32Array, shape, policy.storage));
    }
  }
  return {
    ...bundled, family: sd1 as ModelFamily, bundled: null, source: 'Stable Diffusion 1.5 with random weights', precision: policy, weights,
    denoiser: { kind: KINDS.unet, config: config('unet') },
    vae: { kind: 'AutoencoderKL', config: config('vae') },
    textEncoders: [{ ...bundled.textEncoders[0]!, config: config('text_encoder'), tokenizerFiles: { folder: `${emoji.folder}/tokenizer`, overrides: {} } }],
  };
}

/** Smooth, and costs nothing: what is measured is the model. */
export const smoothReward: Reward = {
  name: 'smooth', description: '', range: [0, 1], differentiable: true,
  weights: new Map([['tint', host(Float32Array.of(3, -2, 1), [1, 3, 1, 1])]]),
  trace: (images) => mul(sum(square(mul(images, weight('tint', [1, 3, 1, 1]))), { axes: [1, 2, 3] }), 1e-4),
  feeds: async () => ({}),
};
