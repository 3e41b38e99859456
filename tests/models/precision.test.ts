import { expect, test } from 'vitest';
import { host, scalarHost, sizeOf, toFloat32, zeros } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { grad } from '../../src/graph/grad.js';
import { mul } from '../../src/graph/ops/arithmetic.js';
import { sum } from '../../src/graph/ops/reduce.js';
import { input } from '../../src/graph/tensor.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { clipText, finalNorm } from '../../src/models/clip-text.js';
import { clipTextConfigSchema, vaeConfigSchema } from '../../src/models/config.js';
import { loadPipeline } from '../../src/loading/load.js';
import { conditionInputs, denoiserOf, latentShape } from '../../src/models/pipeline.js';
import { vaeDecode, vaeEncode } from '../../src/models/vae.js';
import { loraAdapter, loraParameters, planByTargets } from '../../src/nn/lora.js';
import { FLOAT32, PRECISIONS } from '../../src/nn/precision.js';
import type { Precision } from '../../src/nn/precision.js';
import { frozenWeights } from '../../src/nn/scope.js';
import { normal } from '../../src/random/random.js';
import { compile } from '../../src/runtime/compile.js';
import { runOnFixture } from './compare.js';
import type { TracedModel } from './compare.js';
import { loadFixture } from './fixture.js';
import type { Fixture } from './fixture.js';

const dot = (a: Float32Array, b: Float32Array): number => a.reduce((sum, v, i) => sum + v * b[i]!, 0);
const cosine = (a: Float32Array, b: Float32Array): number => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
const joined = (list: readonly HostTensor[]): Float32Array => Float32Array.from(list.flatMap((t) => [...toFloat32(t)]));
/** Length of the difference over the length of what is right. */
const difference = (ours: Float32Array, theirs: Float32Array): number => {
  const d = ours.map((v, i) => v - theirs[i]!);
  return Math.sqrt(dot(d, d) / dot(theirs, theirs));
};

/** Outputs within `tolerance` of their length, all gradients together with a cosine above 0.999. The fixtures' U-Nets, random ones, would not do (docs/decisions.md). */
async function expectNear(
  fixture: Fixture, tolerance: number, model: TracedModel, precision: Precision = PRECISIONS.mixed,
): Promise<void> {
  const results = await runOnFixture(fixture, model, { precision });
  for (const key of fixture.part('cotangent.').keys()) {
    expect(results[key]!.dtype, key).toBe('float32');
    expect(difference(toFloat32(results[key]!), toFloat32(fixture.get(`out.${key}`))), key).toBeLessThan(tolerance);
  }
  const references = [...fixture.part('grad.')];
  const ours = references.map(([name]) => results[`grad.${name}`]!);
  expect(ours.every((g) => g.dtype === 'float32')).toBe(true);
  expect(cosine(joined(ours), joined(references.map(([, t]) => t)))).toBeGreaterThan(0.999);
}

test('the bundled U-Net in half precision: prediction within 1%, LoRA gradients by their direction', async () => {
  const pipeline = await loadPipeline('emoji');
  const x = input('x', latentShape(pipeline, 1, 64, 64));
  const condition = conditionInputs(pipeline, 1, 'condition/');
  const adapter = loraAdapter('lora', planByTargets({ rank: 4, targets: ['to_q', 'to_v', 'conv1', 'ff.net.2'] }));
  const random = ({ shape }: Tensor, step: number): HostTensor =>
    host(normal({ seed: 1, stream: 'precision', step }, 0, sizeOf(shape)), shape);
  let feeds: Record<string, HostTensor> = { x: random(x, 0), t: host(new Float32Array([500]), [1]), 'lora.scale': scalarHost(1), 'loss scale': scalarHost(1024) };
  const trace = async (precision: Precision): Promise<{ y: Float32Array; g: Float32Array }> => {
    const denoiser = denoiserOf({ ...pipeline, precision }, frozenWeights(), [adapter]);
    const y = denoiser(x, input('t', [1]), condition);
    const parameters = [...loraParameters(adapter).values()];
    const tensors = [...Object.values(condition), ...parameters];
    feeds = { ...feeds, ...Object.fromEntries(tensors.map((t, i) => [t.node.name!, random(t, i + 1)])) };
    for (const { up } of adapter.layers.values()) feeds[up.node.name!] = zeros(up.shape);
    const gradients = grad(sum(mul(y, y)), parameters);
    const outputs = { y, ...Object.fromEntries(gradients.map((g, i) => [`g${i}`, g])) };
    const executable = await compile<string>({ outputs }, { threads: 1, weights: pipeline.weights });
    const { y: prediction, ...rest } = await executable.run(feeds);
    await executable.release();
    return { y: toFloat32(prediction!), g: joined(Object.values(rest)) };
  };
  const [exact, half] = [await trace(FLOAT32), await trace(PRECISIONS.mixed)];
  expect(difference(half.y, exact.y)).toBeLessThan(1e-2);
  expect(difference(half.y, exact.y)).toBeGreaterThan(1e-5); // it is another precision
  expect(cosine(half.g, exact.g)).toBeGreaterThan(0.999);
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
  await expectNear(fixture, 1e-5, model, { ...PRECISIONS.mixed, islands: ['encoder', 'decoder', 'quant_conv', 'post_quant_conv'] });
});
