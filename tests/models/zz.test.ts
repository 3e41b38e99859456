import { test } from 'vitest';
import { cp, mkdir, writeFile } from 'node:fs/promises';
import { writeSafetensors } from '/work/main/src/formats/safetensors.js';
import { componentSchema, componentShapes } from '/work/main/src/models/components.js';
import { COMPONENT_KINDS, PUBLISHED } from '/work/main/src/models/load-single-file.js';
import { sizeOf } from '/work/main/src/graph/dtype.js';
test('x', async () => {
  const { scheduler, ...configs } = PUBLISHED.sd1;
  await cp('/work/main/tests/fixtures/pipeline_sd1', '/tmp/big', { recursive: true });
  for (const [part, config] of Object.entries(configs)) {
    const kind = COMPONENT_KINDS[part as 'unet'];
    const parsed = componentSchema(kind).parse(config);
    await mkdir('/tmp/big/' + part, { recursive: true });
    await writeFile(`/tmp/big/${part}/config.json`, JSON.stringify(config));
    const shapes = componentShapes(kind, parsed);
    await writeSafetensors(`/tmp/big/${part}/${part === 'text_encoder' ? 'model' : 'diffusion_pytorch_model'}.safetensors`,
      [...shapes].map(([n, shape]) => [n, { dtype: 'float16' as const, shape, load: async () => ({ dtype: 'float16' as const, shape, data: new Uint16Array(sizeOf(shape)).fill(0x2000) }) }] as const));
  }
}, 500000);
