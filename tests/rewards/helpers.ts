/** @file What the reward tests share: pictures, a tiny CLIP model, and the finite-difference check. */
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { writeComponent } from '../../src/loading/component-files.js';
import { componentShapes } from '../../src/models/components.js';
import { clipConfigSchema } from '../../src/models/config.js';
import { initialWeights } from '../../src/models/init.js';
import { uniform } from '../../src/random/random.js';
import { openGradient } from '../../src/rewards/gradient.js';
import type { DifferentiableReward } from '../../src/rewards/reward.js';

export const TOKENIZER = new URL('../../models/emoji/tokenizer', import.meta.url).pathname;

export type Images = HostTensor & { data: Float32Array };

/** Smooth, colourful pictures [n, 3, size, size] in [0.1, 0.9], each another. */
export function pictures(n: number, size = 16, seed = 0): Images {
  const waves = uniform({ seed, stream: 'pictures', step: 0 }, 0, n * 3 * 4);
  const data = Float32Array.from({ length: n * 3 * size * size }, (_, k) => {
    const [x, y] = [(k % size) / size, (Math.floor(k / size) % size) / size];
    const w = 4 * Math.floor(k / (size * size));
    const phase = 2 * Math.PI * (3 * waves[w]! * x + 3 * waves[w + 1]! * y + waves[w + 2]!);
    return 0.5 + 0.4 * (0.5 + 0.5 * waves[w + 3]!) * Math.sin(phase);
  });
  return host(data, [n, 3, size, size]) as Images;
}

/** A random CLIPModel of `size` pixels and 10 numbers in a fresh folder, without tokenizer files. */
export async function tinyClip(size = 16): Promise<string> {
  const config = clipConfigSchema.parse({
    projection_dim: 10,
    text_config: {
      vocab_size: 3072, max_position_embeddings: 16, hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1,
      num_attention_heads: 2, projection_dim: 10, eos_token_id: 3071,
    },
    vision_config: {
      image_size: size, patch_size: 8, hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1,
      num_attention_heads: 2, projection_dim: 10,
    },
  });
  const folder = await mkdtemp(join(tmpdir(), 'attune-clip-'));
  const weights = initialWeights(componentShapes('CLIPModel', config), 1);
  await writeComponent(folder, { kind: 'CLIPModel', config, weights }, 'float32');
  return folder;
}

/**
 * Compares a reward's gradient with central differences along random directions, image by image.
 *
 * @param tolerance relative to the larger of the derivative and the gradient's length over 10
 */
export async function checkGradient(
  reward: DifferentiableReward, images: Images, prompts: readonly string[], { step = 5e-3, tolerance = 0.02 } = {},
): Promise<void> {
  const shape = images.shape as [number, 3, number, number];
  const scorer = await openGradient(reward, shape);
  const { gradient } = await scorer.run(images, prompts);
  const size = images.data.length / shape[0];
  for (let trial = 0; trial < 3; trial++) {
    const key = { seed: trial, stream: 'direction', step: 0 };
    const direction = uniform(key, 0, images.data.length).map((u) => 2 * u - 1);
    const moved = async (sign: number): Promise<Float32Array> => {
      const data = images.data.map((v, k) => v + sign * step * direction[k]!);
      return (await scorer.run(host(data, shape), prompts)).score;
    };
    const [above, below] = [await moved(1), await moved(-1)];
    for (let i = 0; i < shape[0]; i++) {
      let [expected, length] = [0, 0];
      for (let k = i * size; k < (i + 1) * size; k++) {
        expected += (gradient.data[k] as number) * direction[k]!;
        length += (gradient.data[k] as number) ** 2;
      }
      expect(length).toBeGreaterThan(0);
      const measured = (above[i]! - below[i]!) / (2 * step);
      const scale = Math.max(Math.abs(measured), Math.sqrt(length) / 10);
      expect(Math.abs(measured - expected) / scale, `image ${i}, direction ${trial}: ${measured} against ${expected}`)
        .toBeLessThan(tolerance);
    }
  }
  await scorer.release();
}
