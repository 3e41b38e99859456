import { expect, test } from 'vitest';
import { silu } from '../../src/graph/ops/activation.js';
import { literal } from '../../src/graph/tensor.js';
import { clipEncoder } from '../../src/models/clip-encoder.js';
import { vaeConfigSchema } from '../../src/models/config.js';
import { transformerLayer } from '../../src/models/unet-blocks.js';
import { vaeMidBlock } from '../../src/models/vae.js';
import { unetLora } from '../../src/models/families/unet.js';
import { loraAdapter, planByTargets } from '../../src/nn/lora.js';
import { resnetBlock } from '../../src/nn/resnet.js';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { compareWithReference } from '../models/compare.js';
import { loadFixture } from '../models/fixture.js';
import type { Fixture } from '../models/fixture.js';

/** The same fixture with parameters (and their gradients) under other names; null takes one out. */
function renamed(fixture: Fixture, rename: (name: string) => string | null): Map<string, HostTensor> {
  const removed = new Map<string, HostTensor>();
  const before = [...fixture.tensors]; // new names are added on the way
  for (const [key, value] of before) {
    const [, kind, name] = /^(grad\.param|param)\.(.+)$/.exec(key) ?? [];
    if (name === undefined) continue;
    fixture.tensors.delete(key);
    const other = rename(name);
    if (other === null) removed.set(key, value);
    else fixture.tensors.set(`${kind}.${other}`, value);
  }
  return removed;
}

test('residual block: output and gradients by everything', async () => {
  const fixture = await loadFixture('engine_resnet_block');
  const { out_channels: width, groups, eps: epsilon } = fixture.meta['config'] as Record<string, number>;
  await compareWithReference(fixture, (scope, { x, temb }) => ({
    y: resnetBlock(scope, x!, width!, { groups: groups!, epsilon: epsilon!, time: silu(temb!) }),
  }));
});

test('transformer layer with LoRA: output and gradients by everything', async () => {
  const fixture = await loadFixture('engine_transformer_block_lora');
  const lora = renamed(fixture, (name) => (name.includes('lora_') ? null : name.replace('.base_layer', '')));
  const adapter = loraAdapter('a', planByTargets({ rank: 4, alpha: 8, targets: unetLora.attention }));
  const feeds: Record<string, HostTensor> = { 'a.scale': host(new Float32Array([1]), []) };
  for (const [key, value] of lora) {
    const [, kind, path, part] = /^(grad\.param|param)\.(.+)\.lora_([AB])\.default\.weight$/.exec(key)!;
    const name = `a.${path}.${part === 'A' ? 'down' : 'up'}`;
    if (kind === 'param') feeds[name] = value;
    else fixture.tensors.set(`grad.${name}`, value);
  }
  await compareWithReference(fixture, (scope, { x, context }) => ({ y: transformerLayer(scope, x!, context!, 4) }), {
    adapters: [adapter],
    feeds,
    other: (name) => {
      const [, path, part] = /^a\.(.+)\.(down|up)$/.exec(name)!;
      return adapter.layers.get(path!)![part as 'down' | 'up'];
    },
  });
  expect(adapter.layers.size).toBe(8);
});

test.each(['text', 'vision'])('CLIP layer of the %s model: output and gradients by everything', async (model) => {
  const fixture = await loadFixture(`engine_clip_${model}_layer`);
  renamed(fixture, (name) => `layers.0.${name}`);
  const { activation } = fixture.meta as { activation: 'quick_gelu' | 'gelu' };
  const sizes = { num_hidden_layers: 1, num_attention_heads: 4, intermediate_size: 64 };
  const config = { ...sizes, hidden_act: activation, layer_norm_eps: 1e-5 };
  await compareWithReference(fixture, (scope, { x }) => {
    const n = x!.shape[1]!;
    const causal = literal(Array.from({ length: n * n }, (_, i) => (i % n > Math.floor(i / n) ? -1e9 : 0)), [n, n]);
    return { y: clipEncoder(scope, config, x!, model === 'text' ? causal : undefined)[1]! };
  });
});

test('middle block of a VAE: output and gradients by everything', async () => {
  const config = vaeConfigSchema.parse({ norm_num_groups: 4 });
  const fixture = await loadFixture('engine_vae_mid_block');
  await compareWithReference(fixture, (scope, { x }) => ({ y: vaeMidBlock(scope, config, x!) }));
});
