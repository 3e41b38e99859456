/** @file What the autoencoder, or any network, makes of every picture of a dataset. */
import { host } from '../../graph/dtype.js';
import type { HostTensor } from '../../graph/dtype.js';
import { add, mul, sub } from '../../graph/ops/arithmetic.js';
import { input } from '../../graph/tensor.js';
import type { Tensor } from '../../graph/tensor.js';
import { pause } from '../../host/pause.js';
import { deferred } from '../../host/resources.js';
import { readComponent } from '../../loading/component-files.js';
import { vaeDecode, vaeEncode } from '../../models/vae.js';
import { frozenWeights, rootScope } from '../../nn/scope.js';
import { compile } from '../../runtime/compile.js';
import type { Progress } from '../../runs/progress.js';
import { pictures, setPicture } from './dataset.js';
import type { Dataset, Pictures } from './dataset.js';
import { values } from '../parameters.js';

const EMBED_BATCH = 32;

/** How the work is done: whom to tell, and with how many threads (all cores by default). */
export interface Working {
  readonly progress: Progress;
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal;
}

/** Applies a network to every picture: rows of `f`, in order. */
export async function overPictures(
  from: Pictures,
  weights: ReadonlyMap<string, HostTensor>,
  f: (images: Tensor /* [B, 3, S, S] in [0, 1] */) => Tensor,
  { progress, threads, signal }: Working,
): Promise<HostTensor> {
  const out = f(input('images', [EMBED_BATCH, 3, from.size, from.size]));
  const net = await compile({ outputs: { out } }, { weights, ...(threads !== undefined && { threads }), ...(signal && { signal }) });
  const [, ...shape] = out.shape;
  const width = out.size / EMBED_BATCH;
  const total = from.count;
  const data = new Float32Array(total * width);
  await using _ = deferred(() => net.release());
  for (let start = 0; start < total; start += EMBED_BATCH) {
    const indices = Array.from({ length: EMBED_BATCH }, (_, i) => Math.min(start + i, total - 1));
    const rows = (await net.run({ images: pictures(from, indices) })).out.data as Float32Array;
    data.set(rows.subarray(0, Math.min(EMBED_BATCH, total - start) * width), start * width);
    progress.step(Math.min(start + EMBED_BATCH, total), total);
    await pause();
  }
  return host(data, [total, ...shape]);
}

/** The VAE's latents of all pictures, and the factor of its configuration. */
export async function latentsOf(dataset: Dataset, folder: string, working: Working): Promise<{ latents: HostTensor; scale: number }> {
  const vae = await readComponent(folder, 'AutoencoderKL');
  working.progress.phase('encoding pictures');
  const scope = rootScope(frozenWeights());
  const latents = await overPictures(dataset, vae.weights, (x) => vaeEncode(scope, vae.config, sub(mul(x, 2), 1)).mean, working);
  return { latents, scale: vae.config.scaling_factor };
}

/** All pictures as the VAE renders them: no sample can be drawn better. */
export async function rendered(from: Pictures, folder: string, working: Working): Promise<Pictures> {
  const { config, weights } = await readComponent(folder, 'AutoencoderKL');
  working.progress.phase('passing pictures through the VAE');
  const scope = rootScope(frozenWeights());
  const decoded = await overPictures(from, weights, (x) => {
    const { mean } = vaeEncode(scope, config, sub(mul(x, 2), 1));
    return add(mul(vaeDecode(scope, config, mean), 0.5), 0.5);
  }, working);
  const pixels = new Uint8Array(from.pixels.length);
  setPicture(pixels, 0, values(decoded));
  return { ...from, pixels };
}

/** Latents of all pictures as a denoiser sees them, of unit variance: [N, C, h, w]. */
export async function scaledLatents(dataset: Dataset, folder: string, working: Working): Promise<HostTensor> {
  const { latents, scale } = await latentsOf(dataset, folder, working);
  return host((latents.data as Float32Array).map((v) => v * scale), latents.shape);
}

/** 1 / deviation, so that scaled latents have unit variance (Rombach et al. 2022). */
export function scalingFactor(latents: HostTensor): number {
  const x = latents.data as Float32Array;
  let [sum, squares] = [0, 0];
  for (const v of x) {
    sum += v;
    squares += v * v;
  }
  const mean = sum / x.length;
  return 1 / Math.sqrt(squares / x.length - mean * mean);
}
