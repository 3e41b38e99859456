import { expect, test } from 'vitest';
import { loadPipeline } from '../../src/models/load.js';
import { defaultGuidance, GUIDANCE_NOTE } from '../../src/sampling/defaults.js';
import { tiny } from '../cli/helpers.js';

test('a LoRA is sampled with the guidance it was trained with; what its file says must be a number', async () => {
  const small = await loadPipeline(tiny);
  const lora = (note?: string): { metadata: Record<string, string> } => ({ metadata: note === undefined ? {} : { [GUIDANCE_NOTE]: note } });
  expect(defaultGuidance(small)).toBe(2);
  expect(defaultGuidance(small, [lora()])).toBe(2);
  expect(defaultGuidance(small, [lora(), lora('1'), lora('3')])).toBe(1);
  for (const wrong of ['much', '-1', 'Infinity', 'NaN']) expect(defaultGuidance(small, [lora(wrong)])).toBe(2);
});
