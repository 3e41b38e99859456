/**
 * @file A process that opens the graph of a training step (U-Net with LoRA, decoder, reward, all gradients) on the GPU in the
 * precisions it is told, and has ONNX Runtime log to stderr where it puts each operator. Nothing is run.
 */
import process from 'node:process';
import { smallPipeline } from './small-pipelines.mjs';

const from = (path) => import(new URL(`../../dist/${path}`, import.meta.url).href);
const { grad, input, mean, square } = await from('graph/index.js');
const { decodeImages } = await from('models/latents.js');
const { conditionInputs, denoiserOf, latentShape, vaeScope } = await from('models/pipeline.js');
const { loraAdapter, loraParameters, planByTargets } = await from('nn/lora.js');
const { PRECISIONS } = await from('nn/precision.js');
const { frozenWeights } = await from('nn/scope.js');
const { compile } = await from('runtime/compile.js');
const { openGpu } = await from('runtime/gpu-buffers.js');

await openGpu();
for (const name of process.argv.slice(2)) {
  const pipeline = await smallPipeline('sd1', PRECISIONS[name]);
  const adapter = loraAdapter('lora', planByTargets({ rank: 2, targets: ['to_q', 'to_v', 'conv1', 'proj_in'] }));
  const x = input('x', latentShape(pipeline, 1, 32, 32));
  const latents = denoiserOf(pipeline, frozenWeights(), [adapter], { checkpointing: true })(x, input('t', [1]), conditionInputs(pipeline, 1, 'c/'));
  const images = decodeImages(vaeScope(pipeline, frozenWeights()), pipeline.vae, latents);
  const loss = mean(square(images));
  const gradients = grad(loss, [x, ...loraParameters(adapter).values()]);
  const outputs = { loss, ...Object.fromEntries(gradients.map((g, i) => [`g${i}`, g])) };
  process.stderr.write(`\n== ${name}\n`);
  const executable = await compile({ outputs }, { device: 'webgpu', threads: 1, weights: pipeline.weights, hoist: false, session: { logSeverityLevel: 0 } });
  await executable.release();
}
process.stdout.write('{}\n');
