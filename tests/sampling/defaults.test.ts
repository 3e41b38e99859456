import { expect, test } from 'vitest';
import type { ModelFamily } from '../../src/models/families/family.js';
import { sd1 } from '../../src/models/families/sd.js';
import { sdxl } from '../../src/models/families/sdxl.js';
import { loadPipeline } from '../../src/loading/load.js';
import type { Pipeline } from '../../src/models/pipeline.js';
import { defaultGuidance, defaultSize, GUIDANCE_NOTE } from '../../src/sampling/defaults.js';
import { tiny } from '../cli/helpers.js';

test('a LoRA is sampled with the guidance it was trained with; what its file says must be a number', async () => {
  const small = await loadPipeline(tiny);
  const lora = (note?: string): { metadata: Record<string, string> } => ({ metadata: note === undefined ? {} : { [GUIDANCE_NOTE]: note } });
  expect(defaultGuidance(small)).toBe(2);
  expect(defaultGuidance(small, [lora()])).toBe(2);
  expect(defaultGuidance(small, [lora(), lora('1'), lora('3')])).toBe(1);
  for (const wrong of ['much', '-1', 'Infinity', 'NaN']) expect(defaultGuidance(small, [lora(wrong)])).toBe(2);
});

test('a model that does not tell its size is made images of its pipeline\'s in diffusers', () => {
  const sides = ([sd1, sdxl] as unknown as ModelFamily[]).map((family) =>
    defaultSize({ family, denoiser: { config: { sample_size: null } }, vae: { config: { block_out_channels: [1, 2, 3, 4] } } } as unknown as Pipeline));
  expect(sides).toEqual([[512, 512], [1024, 1024]]);
});
