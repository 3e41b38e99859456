/**
 * @file `bench captions [--model FOLDER] [--pictures N]`: what a caption is worth to the bundled model: the squared error
 * of x̂0 by noise level when the denoiser is told the picture's own name, its group, another picture's name or nothing.
 * Where the first and the last agree, the prompt is not heard.
 *
 * The dataset must have been built: `cd models/data && npm ci && node build.mjs`.
 */
import { parseArgs } from 'node:util';
import { host } from '../src/graph/dtype.js';
import type { HostTensor } from '../src/graph/dtype.js';
import { input } from '../src/graph/tensor.js';
import { encodeImages } from '../src/models/latents.js';
import { emoji } from '../src/loading/bundled.js';
import { loadPipeline } from '../src/loading/load.js';
import { conditionInputs, denoiserOf, partScope } from '../src/models/pipeline.js';
import { frozenWeights } from '../src/nn/scope.js';
import { normal, permutation } from '../src/random/random.js';
import { compile } from '../src/runtime/compile.js';
import { openConditions, POSITIVE } from '../src/models/conditions.js';
import { ddimStep } from '../src/schedulers/ddim.js';
import { addNoise } from '../src/schedulers/forward-process.js';
import { vpLevel } from '../src/schedulers/process.js';
import { readVpConfig } from '../src/schedulers/scheduler-config.js';
import { predictX0 } from '../src/schedulers/step.js';
import { loadDataset, pictures } from '../src/training/pretrain/dataset.js';
import type { DatasetRecord } from '../src/training/pretrain/dataset.js';

const SIDE = 64;
const TIMES = [100, 300, 500, 700, 800, 900, 980];

/** What the denoiser is told of each picture, by kind. */
function captionsOf(records: readonly DatasetRecord[]): Readonly<Record<string, readonly string[]>> {
  const own = records.map(({ prompt, style }) => `${prompt}, ${style}`);
  return {
    'own name': own,
    group: records.map(({ phrases, prompt, style }) => `${phrases?.[0] ?? prompt}, ${style}`),
    'another name': [...own.slice(1), own[0]!],
    nothing: own.map(() => ''),
  };
}

const meanSquare = (a: Float32Array, b: Float32Array): number => a.reduce((sum, v, i) => sum + (v - b[i]!) ** 2, 0) / a.length;

export async function benchCaptions(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: { model: { type: 'string', default: emoji.folder }, pictures: { type: 'string', default: '64' } },
  });
  const [root, count] = [values.model, Number(values.pictures)];
  const dataset = await loadDataset('models/data/out', SIDE);
  const order = permutation({ seed: 3, stream: 'bench captions', step: 0 }, 0, dataset.records.length);
  const chosen = [...order.subarray(0, count)];
  const pipeline = await loadPipeline(root);
  const { process } = readVpConfig(pipeline.scheduler, root);
  const { weights } = pipeline;

  const images = input('images', [count, 3, SIDE, SIDE]);
  const encoder = await compile({ outputs: { latents: encodeImages(partScope('vae', frozenWeights()), pipeline.vae, images).mean } }, { weights });
  const clean = (await encoder.run({ images: pictures(dataset, chosen) })).latents; // [N, C, h, w]
  const x0 = clean.data as Float32Array;
  const [x, time] = [input('x', clean.shape), input('timestep', [count])];
  const output = denoiserOf(pipeline, frozenWeights())(x, time, conditionInputs(pipeline, count, POSITIVE));
  const network = await compile({ outputs: { output } }, { weights });
  const conditions = await openConditions(pipeline, { negativePrompt: null, guidance: 1, height: SIDE, width: SIDE, compile: {} });

  const kinds = Object.entries(captionsOf(chosen.map((i) => dataset.records[i]!)));
  const show = (cells: readonly string[]): void => console.log(cells.map((c) => c.padStart(14)).join(''));
  console.log(`mean squared error of x̂0, ${count} pictures, one noise each; variance of x0 ${meanSquare(x0, new Float32Array(x0.length)).toFixed(3)}`);
  show(['t', 'SNR', ...kinds.map(([kind]) => kind)]);
  for (const t of TIMES) {
    const alphaBar = process.alphasCumprod[t]!;
    const noise = normal({ seed: 9, stream: 'bench captions', step: t }, 0, x0.length);
    const noisy = addNoise(vpLevel(alphaBar), x0, noise);
    const step = ddimStep(process, t, -1);
    const errors: number[] = [];
    for (const [, captions] of kinds) {
      const feeds: Record<string, HostTensor> = {
        ...(await conditions.feeds(captions)), x: host(noisy, clean.shape), timestep: host(new Float32Array(count).fill(t), [count]),
      };
      errors.push(meanSquare(predictX0(step, noisy, (await network.run(feeds)).output.data as Float32Array), x0));
    }
    show([String(t), (alphaBar / (1 - alphaBar)).toPrecision(2), ...errors.map((e) => e.toFixed(3))]);
  }
}
