import { test } from 'vitest';
import { tinyVaeConfigSchema, vaeConfigSchema } from '../../src/models/config.js';
import { tinyDecode, tinyEncode } from '../../src/models/tiny-vae.js';
import { vaeDecode, vaeEncode } from '../../src/models/vae.js';
import { compareWithReference } from './compare.js';
import { loadFixture } from './fixture.js';

test.each([false, true])('AutoencoderKL, checkpointing %s: moments, image and gradients', async (checkpointing) => {
  const fixture = await loadFixture('vae_kl');
  const config = vaeConfigSchema.parse(fixture.meta['config']);
  await compareWithReference(fixture, (scope, { image, latents }) => ({
    ...vaeEncode(scope, config, image!, { checkpointing }),
    sample: vaeDecode(scope, config, latents!, { checkpointing }),
  }));
});

test('AutoencoderTiny: latents, image and gradients', async () => {
  const fixture = await loadFixture('vae_tiny');
  const config = tinyVaeConfigSchema.parse(fixture.meta['config']);
  await compareWithReference(fixture, (scope, { image, latents }) => ({
    latents: tinyEncode(scope, config, image!),
    sample: tinyDecode(scope, config, latents!),
  }));
});
