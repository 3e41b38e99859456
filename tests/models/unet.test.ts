import { test } from 'vitest';
import { cast } from '../../src/graph/ops/arithmetic.js';
import { unetConfigSchema } from '../../src/models/config.js';
import { unet } from '../../src/models/unet.js';
import { compareWithReference } from './compare.js';
import { loadFixture } from './fixture.js';

const VARIANTS = ['sd1', 'sd2', 'sdxl', 'bk_sdm_base', 'bk_sdm_small', 'bk_sdm_tiny', 'lcm'];

test.each(VARIANTS)('U-Net %s without LoRA', async (variant) => {
  const fixture = await loadFixture(`unet_${variant}`);
  const config = unetConfigSchema.parse(fixture.meta['config']);
  for (const key of [...fixture.tensors.keys()]) if (/^(grad|cotangent)\./.test(key)) fixture.tensors.delete(key);
  fixture.tensors.set('cotangent.base', fixture.get('out.base'));
  await compareWithReference(fixture, (scope, inputs) => ({
    base: unet(scope, config, {
      latents: inputs['sample']!,
      timestep: cast(inputs['timestep']!, 'float32'),
      context: inputs['encoder_hidden_states']!,
      pooled: inputs['text_embeds']!,
      sizes: inputs['time_ids']!,
      guidance: inputs['guidance_scale']!,
    }),
  }));
});
