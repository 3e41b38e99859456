/**
 * @file A process that makes updates on a device and on the CPU: `{"model": "sd1", "method": "refl", …}` for each, as JSON;
 * one JSON line for each.
 */
import process from 'node:process';
import { smallPipeline } from './small-pipelines.mjs';

const from = (path) => import(new URL(`../../dist/${path}`, import.meta.url).href);
const { mul, square, sum, weight } = await from('graph/index.js');
const { findMethod } = await from('methods/index.js');
const { PRECISIONS } = await from('nn/precision.js');
const { gpuBuffers } = await from('runtime/gpu-buffers.js');
const { deviceParity } = await from('training/device-parity.js');

/** Smooth: where pixels decide by comparing, rounding would decide. */
const reward = {
  name: 'smooth', description: '', range: [0, 1], differentiable: true,
  weights: new Map([['tint', { data: Float32Array.of(3, -2, 1), shape: [1, 3, 1, 1], dtype: 'float32' }]]),
  trace: (images) => mul(sum(square(mul(images, weight('tint', [1, 3, 1, 1]))), { axes: [1, 2, 3] }), 1e-4),
  feeds: async () => ({}),
};
for (const row of process.argv.slice(2).map((text) => JSON.parse(text))) {
  const { model = 'sd1', method, device = 'webgpu', train = 'lora', checkpointing = false, precision = 'float32', guidance = 1, size = 32 } = row;
  const parity = await deviceParity({
    pipeline: await smallPipeline(model), ...(precision !== 'float32' && { onDevice: await smallPipeline(model, PRECISIONS[precision]) }),
    method: findMethod(method), reward: async () => reward,
    adaptation: train === 'full' ? { kind: train } : { kind: 'lora', options: { rank: 2, targets: ['to_q', 'to_k', 'to_v', 'to_out.0'] } },
    checkpointing, steps: 2, guidance, size, prompts: ['a cat', 'a dog'], compile: { device, threads: 1 },
  });
  process.stdout.write(`${JSON.stringify({ ...row, ...parity, left: gpuBuffers().buffers })}\n`);
}
