import { expect, test } from 'vitest';
import { toFloat32 } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { clipText, finalNorm } from '../../src/models/clip-text.js';
import { clipTextConfigSchema, vaeConfigSchema } from '../../src/models/config.js';
import { vaeDecode, vaeEncode } from '../../src/models/vae.js';
import { loraAdapter, planByTargets } from '../../src/nn/lora.js';
import type { Precision } from '../../src/nn/precision.js';
import { MIXED } from '../../src/nn/precision.js';
import { runOnFixture } from './compare.js';
import type { CompareOptions, TracedModel } from './compare.js';
import { loadFixture } from './fixture.js';
import type { Fixture } from './fixture.js';
import { loraFeeds, loraTensor, traceUnet } from './unet-fixture.js';

const dot = (a: Float32Array, b: Float32Array): number => a.reduce((sum, v, i) => sum + v * b[i]!, 0);
const cosine = (a: Float32Array, b: Float32Array): number => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
const joined = (list: readonly HostTensor[]): Float32Array => Float32Array.from(list.flatMap((t) => [...toFloat32(t)]));
/** Length of the difference over the length of what is right. */
const difference = (ours: Float32Array, theirs: Float32Array): number => {
  const d = ours.map((v, i) => v - theirs[i]!);
  return Math.sqrt(dot(d, d) / dot(theirs, theirs));
};

/** Outputs within `tolerance` of their length, all gradients together with a cosine above 0.999. */
async function expectNear(
  fixture: Fixture, tolerance: number, model: TracedModel, options: CompareOptions = {}, precision: Precision = MIXED,
): Promise<void> {
  const results = await runOnFixture(fixture, model, { ...options, precision });
  for (const key of fixture.part('cotangent.').keys()) {
    expect(results[key]!.dtype, key).toBe('float32');
    expect(difference(toFloat32(results[key]!), toFloat32(fixture.get(`out.${key}`))), key).toBeLessThan(tolerance);
  }
  const references = [...fixture.part('grad.')];
  const ours = references.map(([name]) => results[`grad.${name}`]!);
  expect(ours.every((g) => g.dtype === 'float32')).toBe(true);
  expect(cosine(joined(ours), joined(references.map(([, t]) => t)))).toBeGreaterThan(0.999);
}

test('U-Net in half precision: prediction within 1%, LoRA gradients', async () => {
  const fixture = await loadFixture('unet_bk_sdm_tiny');
  const adapter = loraAdapter('a', planByTargets({ rank: 4, alpha: 8 }));
  await expectNear(fixture, 1e-2, (scope, inputs) => ({ sample: traceUnet(fixture, scope, inputs) }), {
    adapters: [adapter], root: 'unet', feeds: loraFeeds(fixture, 1), other: (name) => loraTensor(adapter, name),
  });
});

test('CLIP text in half precision: states within 1%, gradients by all weights', async () => {
  const fixture = await loadFixture('clip_text_sd1');
  const config = clipTextConfigSchema.parse(fixture.meta['config']);
  await expectNear(fixture, 1e-2, (scope, inputs) => {
    const { hidden, last } = clipText(scope, config, inputs['input_ids']!);
    return { penultimate: hidden.at(-2)!, last_hidden_state: last, clip_skip_1: finalNorm(scope, config, hidden.at(-2)!) };
  });
});

test('AutoencoderKL in half precision: moments and image within 1%, gradients', async () => {
  const fixture = await loadFixture('vae_kl');
  const config = vaeConfigSchema.parse(fixture.meta['config']);
  await expectNear(fixture, 1e-2, (scope, { image, latents }) =>
    ({ ...vaeEncode(scope, config, image!), sample: vaeDecode(scope, config, latents!) }));
});

test('a part that is an island is computed in float32', async () => {
  const fixture = await loadFixture('vae_kl');
  const config = vaeConfigSchema.parse(fixture.meta['config']);
  const model: TracedModel = (scope, { image, latents }) =>
    ({ ...vaeEncode(scope, config, image!), sample: vaeDecode(scope, config, latents!) });
  await expectNear(fixture, 1e-5, model, {}, { ...MIXED, islands: ['encoder', 'decoder', 'quant_conv', 'post_quant_conv'] });
});
