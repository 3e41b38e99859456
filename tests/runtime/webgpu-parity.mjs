/** @file A process that makes an update of each method it is told, on the GPU and on the CPU; one JSON line for each. */
import process from 'node:process';

const from = (path) => import(new URL(`../../dist/${path}`, import.meta.url).href);
const { mul, square, sum, weight } = await from('graph/index.js');
const { findMethod } = await from('methods/index.js');
const { loadPipeline } = await from('models/load.js');
const { gpuBuffers } = await from('runtime/gpu-buffers.js');
const { deviceParity } = await from('training/device-parity.js');

const [kind, ...methods] = process.argv.slice(2);
const pipeline = await loadPipeline(new URL('../fixtures/pipeline_sd1', import.meta.url).pathname);
/** Smooth: where pixels decide by comparing, rounding would decide. */
const reward = {
  name: 'smooth', description: '', range: [0, 1], differentiable: true,
  weights: new Map([['tint', { data: Float32Array.of(3, -2, 1), shape: [1, 3, 1, 1], dtype: 'float32' }]]),
  trace: (images) => mul(sum(square(mul(images, weight('tint', [1, 3, 1, 1]))), { axes: [1, 2, 3] }), 1e-4),
  feeds: async () => ({}),
};
for (const name of methods) {
  const parity = await deviceParity({
    pipeline, method: findMethod(name), reward: async () => reward,
    adaptation: kind === 'full' ? { kind } : { kind: 'lora', options: { rank: 2, targets: ['to_q', 'to_k', 'to_v', 'to_out.0'] } },
    // The fixture's own size: at the smallest, groups of two numbers are normalised, and gradients are rounding.
    checkpointing: kind === 'checkpointing', steps: 2, guidance: 1, size: 128, prompts: ['a cat', 'a dog'], compile: { device: 'webgpu', threads: 1 },
  });
  process.stdout.write(`${JSON.stringify({ name, ...parity, left: gpuBuffers().buffers })}\n`);
}
