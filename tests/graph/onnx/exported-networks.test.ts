import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { HostTensor } from '../../../src/graph/dtype.js';
import { vjp } from '../../../src/graph/grad.js';
import { importOnnx } from '../../../src/formats/onnx/import-file.js';
import { input } from '../../../src/graph/tensor.js';
import { compile } from '../../../src/runtime/compile.js';
import { readFixture, relativeError, under } from '../fixture.js';

const folder = new URL('../../fixtures/', import.meta.url);
const { meta, tensors } = await readFixture<{ cases: Record<string, { files: string[]; outputs: string[] }> }>('onnx_io');

const cases = Object.entries(meta.cases).flatMap(([network, { files, outputs }]) => files.map((file) => ({ network, file, outputs })));
cases.push({ network: 'mobilenet', file: 'onnx_external/mobilenet.onnx', outputs: ['probabilities'] });

describe('networks as PyTorch exports them, at another batch size, agree with PyTorch', () => {
  test.each(cases)('$file', async ({ network, file, outputs }) => {
    const values = under(tensors, `${network}/`);
    const given = under(values, 'in.');
    const shapes = Object.fromEntries([...given].map(([name, { shape }]) => [name, shape]));
    const model = importOnnx({ path: fileURLToPath(new URL(file, folder)) }, { shapes });
    expect(model.outputs.map((o) => o.name)).toEqual(outputs);
    const inputs = Object.fromEntries(model.inputs.map((p) => [p.name, input(p.name, p.shape, p.dtype)]));
    const traced = model.call(inputs);
    const cotangents = outputs.map((name) => input(`r.${name}`, traced[name]!.shape));
    const [byPixels] = vjp(outputs.map((name) => traced[name]!), [inputs['pixel_values']!], cotangents);

    const executable = await compile({ outputs: { ...traced, byPixels: byPixels! } }, { weights: model.weights, threads: 1 });
    const feeds: Record<string, HostTensor> = Object.fromEntries(given);
    for (const name of outputs) feeds[`r.${name}`] = values.get(`cotangent.${name}`)!;
    const results: Record<string, HostTensor> = await executable.run(feeds);
    await executable.release();
    for (const name of outputs) expect(relativeError(results[name]!, values.get(`out.${name}`)!), name).toBeLessThan(1e-5);
    expect(relativeError(results['byPixels']!, values.get('grad.in.pixel_values')!), 'gradient').toBeLessThan(1e-4);
  });
});
