/** @file Training the VAE: reconstruction in pixels and their differences, and a small pull of the latents to N(0, 1). */
import { host } from '../../graph/dtype.js';
import type { HostTensor } from '../../graph/dtype.js';
import { abs, add, exp, mul, square, sub } from '../../graph/ops/arithmetic.js';
import { narrow } from '../../graph/ops/layout.js';
import { mean } from '../../graph/ops/reduce.js';
import { input } from '../../graph/tensor.js';
import type { Tensor } from '../../graph/tensor.js';
import type { VaeConfig } from '../../models/config.js';
import { vaeDecode, vaeEncode } from '../../models/vae.js';
import { frozenWeights, rootScope, trainableWeights } from '../../nn/scope.js';
import { integers, normal } from '../../random/random.js';
import { pictures } from './dataset.js';
import type { Dataset } from './dataset.js';
import type { Trainable } from './fit.js';

export interface AutoencoderOptions {
  config: VaeConfig;
  parameters: Map<string, HostTensor>;
  batch: number;
  seed: number;
  /** Side of the windows it is trained on, a multiple of the VAE's factor; smaller ones are cheaper. */
  window: number;
  /** Weight of KL(q(z|x) ‖ N(0, 1)) per latent number. */
  klWeight: number;
  /** Weight of the L1 distance between neighbour differences, which keeps edges sharp. */
  edgeWeight: number;
  /** Train only the decoder: the latents stay what a denoiser has learnt. */
  decoderOnly: boolean;
}

/** Differences of neighbours along an axis. */
function differences(x: Tensor, axis: number): Tensor {
  const n = x.shape[axis]!;
  return sub(narrow(x, axis, 1, n), narrow(x, axis, 0, n - 1));
}

/** mean |x − y| + edgeWeight · mean |∇x − ∇y|, images [B, 3, H, W]. */
function reconstructionLoss(x: Tensor, y: Tensor, edgeWeight: number): Tensor {
  const d = sub(x, y);
  const edges = add(mean(abs(differences(d, 2))), mean(abs(differences(d, 3))));
  return add(mean(abs(d)), mul(edges, edgeWeight));
}

/** The VAE's loss on a dataset of pictures. */
export function autoencoder(dataset: Dataset, options: AutoencoderOptions): Trainable {
  const { config, batch, seed, window } = options;
  const symbols = new Map<string, Tensor>();
  const trained = trainableWeights('vae/', (name, t) => symbols.set(name, t));
  const scope = rootScope(trained);
  const encoder = options.decoderOnly ? rootScope(frozenWeights('vae/')) : scope;
  const image = input('image', [batch, 3, window, window]); // [0, 1]
  const x = sub(mul(image, 2), 1);
  const { mean: mu, logvar } = vaeEncode(encoder, config, x);
  const noise = input('noise', mu.shape);
  const z = add(mu, mul(exp(mul(logvar, 0.5)), noise));
  const y = vaeDecode(scope, config, z);
  const reconstruction = reconstructionLoss(x, y, options.edgeWeight);
  const kl = mul(mean(sub(sub(add(square(mu), exp(logvar)), logvar), 1)), 0.5);
  const loss = options.decoderOnly ? reconstruction : add(reconstruction, mul(kl, options.klWeight));
  const frozen = new Map([...options.parameters].filter(([name]) => !symbols.has(name)));
  return {
    parameters: new Map([...options.parameters].filter(([name]) => symbols.has(name))),
    frozen: new Map([...frozen].map(([name, value]) => [`vae/${name}`, value])),
    symbols,
    loss,
    metrics: { l1: mean(abs(sub(x, y))), kl },
    feeds(step) {
      const key = { seed, stream: 'vae-batch', step };
      const indices = Array.from(integers(key, 0, batch, dataset.records.length));
      const places = integers({ seed, stream: 'vae-window', step }, 0, 2 * batch, dataset.size - window + 1);
      const corners = indices.map((_, i) => [places[2 * i]!, places[2 * i + 1]!] as const);
      const noises = normal({ seed, stream: 'vae-noise', step }, 0, noise.size);
      return { image: pictures(dataset, indices, corners, window), noise: host(noises, noise.shape) };
    },
  };
}
