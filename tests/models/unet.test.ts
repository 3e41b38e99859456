import { expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { cast } from '../../src/graph/ops/arithmetic.js';
import { input } from '../../src/graph/tensor.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { unetConfigSchema } from '../../src/models/config.js';
import { unet } from '../../src/models/unet.js';
import { unetLora } from '../../src/models/families/unet.js';
import { loraAdapter, planByTargets } from '../../src/nn/lora.js';
import type { LoraAdapter } from '../../src/nn/lora.js';
import { frozenWeights, rootScope } from '../../src/nn/scope.js';
import type { Scope } from '../../src/nn/scope.js';
import { compareWithReference } from './compare.js';
import { loadFixture } from './fixture.js';
import type { Fixture } from './fixture.js';

const VARIANTS = ['sd1', 'sd2', 'sdxl', 'bk_sdm_base', 'bk_sdm_small', 'bk_sdm_tiny', 'lcm'];

function run(fixture: Fixture, scope: Scope, inputs: Record<string, Tensor>, checkpointing = false): Tensor {
  const config = unetConfigSchema.parse(fixture.meta['config']);
  return unet(scope, config, {
    latents: inputs['sample']!,
    timestep: cast(inputs['timestep']!, 'float32'),
    context: inputs['encoder_hidden_states']!,
    pooled: inputs['text_embeds']!,
    sizes: inputs['time_ids']!,
    guidance: inputs['guidance_scale']!,
  }, { checkpointing });
}

/** PEFT's tensor names of the fixture → the adapter's inputs. */
function loraTensor(adapter: LoraAdapter, name: string): Tensor {
  const [, path, part] = /^(?:lora\.)?(.+)\.lora_([AB])\.weight$/.exec(name)!;
  const layer = adapter.layers.get(`unet.${path}`)!;
  return part === 'A' ? layer.down : layer.up;
}

/** Feeds of the fixture's LoRA at a strength. */
function loraFeeds(fixture: Fixture, strength: number): Record<string, HostTensor> {
  const feeds: Record<string, HostTensor> = { 'a.scale': host(new Float32Array([strength]), []) };
  for (const [name, value] of fixture.part('lora.')) {
    const [, path, part] = /^(.+)\.lora_([AB])\.weight$/.exec(name)!;
    feeds[`a.unet.${path}.${part === 'A' ? 'down' : 'up'}`] = value;
  }
  return feeds;
}

async function expectReference(variant: string, checkpointing: boolean): Promise<void> {
  const fixture = await loadFixture(`unet_${variant}`);
  const adapter = loraAdapter('a', planByTargets({ rank: 4, alpha: 8, targets: unetLora.attention }));
  await compareWithReference(fixture, (scope, inputs) => ({ sample: run(fixture, scope, inputs, checkpointing) }), {
    adapters: [adapter],
    root: 'unet',
    feeds: loraFeeds(fixture, 1),
    other: (name) => loraTensor(adapter, name),
    again: { feeds: loraFeeds(fixture, 0), outputs: { sample: 'base' } },
  });
  expect(adapter.layers.size * 2).toBe(fixture.part('lora.').size);
}

test.each(VARIANTS)('U-Net %s with LoRA: prediction, and gradients by latents, text states and LoRA', (variant) =>
  expectReference(variant, false));

test('U-Net with checkpointing has the same gradients', () => expectReference('bk_sdm_tiny', true));

test('U-Net takes latents with odd sides', () => {
  const config = unetConfigSchema.parse({
    block_out_channels: [4, 8, 8, 8], norm_num_groups: 4, cross_attention_dim: 16, attention_head_dim: 2,
  });
  const inputs = { latents: input('x', [1, 4, 13, 11]), timestep: input('t', [1]), context: input('c', [1, 7, 16]) };
  expect(unet(rootScope(frozenWeights()), config, inputs).shape).toEqual([1, 4, 13, 11]);
});

test('U-Net says which input it needs', () => {
  const config = unetConfigSchema.parse({ time_cond_proj_dim: 16 });
  const inputs = { latents: input('x', [1, 4, 8, 8]), timestep: input('t', [1]), context: input('c', [1, 7, 1280]) };
  expect(() => unet(rootScope(frozenWeights()), config, inputs)).toThrow(/needs the input "guidance"/);
});
