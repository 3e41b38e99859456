import { test } from 'vitest';
import { clipText, finalNorm, textProjection } from '../../src/models/clip-text.js';
import { clipVision, visualProjection } from '../../src/models/clip-vision.js';
import { clipLogits, imageFeatures, textFeatures } from '../../src/models/clip.js';
import { clipConfigSchema, clipTextConfigSchema, clipVisionConfigSchema } from '../../src/models/config.js';
import { compareWithReference } from './compare.js';
import { loadFixture } from './fixture.js';

test.each(['sd1', 'sd2', 'sdxl2'])('CLIP text of %s: states and gradients by all weights', async (name) => {
  const fixture = await loadFixture(`clip_text_${name}`);
  const config = clipTextConfigSchema.parse(fixture.meta['config']);
  await compareWithReference(fixture, (scope, inputs) => {
    const states = clipText(scope, config, inputs['input_ids']!);
    return {
      penultimate: states.hidden.at(-2)!,
      last_hidden_state: states.last,
      clip_skip_1: finalNorm(scope, config, states.hidden.at(-2)!),
      ...(name === 'sdxl2' && { text_embeds: textProjection(scope, config, states.pooled) }),
    };
  });
});

test('CLIP vision: states and gradients by pixels and all weights', async () => {
  const fixture = await loadFixture('clip_vision');
  const config = clipVisionConfigSchema.parse(fixture.meta['config']);
  await compareWithReference(fixture, (scope, inputs) => {
    const states = clipVision(scope, config, inputs['pixel_values']!);
    return { penultimate: states.hidden.at(-2)!, image_embeds: visualProjection(scope, config, states.pooled) };
  });
});

test('CLIP: features, logits and their gradients', async () => {
  const fixture = await loadFixture('clip_contrastive');
  const config = clipConfigSchema.parse(fixture.meta['config']);
  await compareWithReference(fixture, (scope, inputs) => {
    const texts = textFeatures(scope, config, inputs['input_ids']!);
    const images = imageFeatures(scope, config, inputs['pixel_values']!);
    return { text_embeds: texts, image_embeds: images, logits_per_image: clipLogits(scope, images, texts) };
  });
});
