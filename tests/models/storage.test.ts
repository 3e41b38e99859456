import { expect, test } from 'vitest';
import { FormatError } from '../../src/formats/errors.js';
import type { WeightSource } from '../../src/formats/weights.js';
import { fromFloat32, host, sizeOf, toFloat32 } from '../../src/graph/dtype.js';
import type { HostTensor, StoredType } from '../../src/graph/dtype.js';
import { readWeights } from '../../src/loading/component-files.js';
import { componentShapes } from '../../src/models/components.js';
import { tinyVaeConfigSchema } from '../../src/models/config.js';
import { loadPipeline } from '../../src/loading/load.js';
import { PRECISIONS } from '../../src/nn/precision.js';
import { normal } from '../../src/random/random.js';
import { sampleImages } from '../../src/sampling/sampler.js';
import { samplers } from '../../src/schedulers/index.js';
import { readSchedulerConfig } from '../../src/schedulers/scheduler-config.js';

const KIND = 'AutoencoderTiny';
const CONFIG = tinyVaeConfigSchema.parse({
  encoder_block_out_channels: [4, 4], decoder_block_out_channels: [4, 4], num_encoder_blocks: [1, 1], num_decoder_blocks: [1, 1],
});

/** A file of random weights. */
function file(dtype: StoredType, change: (values: Float32Array) => void = () => {}): { source: WeightSource; values: Map<string, HostTensor> } {
  const values = new Map([...componentShapes(KIND, CONFIG)].map(([name, shape], i) => {
    const data = normal({ seed: 1, stream: 'storage', step: i }, 0, sizeOf(shape));
    change(data);
    return [name, fromFloat32(data, shape, dtype)] as const;
  }));
  const source: WeightSource = {
    where: 'vae.safetensors', metadata: {}, tensors: values, close: async () => {},
    read: async (name, as) => {
      const t = values.get(name)!;
      return as === 'float32' ? host(toFloat32(t), t.shape) : t;
    },
  };
  return { source, values };
}

const MATRIX = 'decoder.layers.0.weight';
const BIAS = 'decoder.layers.0.bias';

test('matrices lie in memory as asked, biases in float32', async () => {
  for (const storage of ['float16', 'bfloat16'] as const) {
    const same = file(storage);
    const read = await readWeights(same.source, KIND, CONFIG, undefined, storage);
    expect(read.get(MATRIX)!.data).toBe(same.values.get(MATRIX)!.data); // not even copied
    expect(read.get(BIAS)!.dtype).toBe('float32');
    const wide = file('float32');
    const rounded = (await readWeights(wide.source, KIND, CONFIG, undefined, storage)).get(MATRIX)!;
    expect(rounded).toEqual(fromFloat32(toFloat32(wide.values.get(MATRIX)!), rounded.shape, storage));
  }
  const { source } = file('float16');
  expect([...(await readWeights(source, KIND, CONFIG)).values()].every((t) => t.dtype === 'float32')).toBe(true);
});

test('numbers that float16 cannot hold are refused, not made infinite', async () => {
  const { source } = file('float32', (values) => values.fill(1e5));
  await expect(readWeights(source, KIND, CONFIG, undefined, 'float16')).rejects.toThrow(FormatError);
  await expect(readWeights(source, KIND, CONFIG, undefined, 'float16')).rejects.toThrow(/float16 cannot hold.*bfloat16-storage/);
  expect((await readWeights(source, KIND, CONFIG, undefined, 'bfloat16')).get(MATRIX)!.dtype).toBe('bfloat16');
});

test('a model whose weights lie in float16 makes the same picture in half of the memory', async () => {
  const picture = async (name: 'float32' | 'float16-storage'): Promise<{ image: Float32Array; bytes: number }> => {
    const pipeline = await loadPipeline('emoji', { precision: PRECISIONS[name] });
    const { process, options } = readSchedulerConfig(pipeline.scheduler, 'scheduler');
    const job = {
      prompts: ['a red apple'], seed: 1, plan: samplers.ddim.plan(process, 2, options), batch: 1, guidance: 1, negativePrompt: '',
      height: 64, width: 64, compile: { threads: 1 },
    };
    for await (const [made] of sampleImages(pipeline, job)) {
      const bytes = [...pipeline.weights.values()].reduce((sum, t) => sum + t.data.byteLength, 0);
      return { image: made!.image.data as Float32Array, bytes };
    }
    throw new Error('no picture');
  };
  const [wide, half] = [await picture('float32'), await picture('float16-storage')];
  expect(half.bytes / wide.bytes).toBeLessThan(0.51);
  // The file is float16: only the order of sums differs, as frozen kernels are not put into another form beforehand.
  expect(Math.max(...half.image.map((v, i) => Math.abs(v - wide.image[i]!)))).toBeLessThan(1e-4);
});
