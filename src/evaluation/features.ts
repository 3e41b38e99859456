/** @file Features of images: CLIP embeddings, in which diversity and the Fréchet distance are measured. */
import { host } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { input } from '../graph/tensor.js';
import { openClip } from '../rewards/clip-folder.js';
import type { ClipOptions } from '../rewards/clip-folder.js';
import { takeRows } from '../rewards/rows.js';
import { compile } from '../runtime/compile.js';
import type { Executable } from '../runtime/compile.js';

export interface FeatureExtractor {
  /** Images float32 [N, 3, H, W] in [0, 1] → unit vectors, float32 [N, D]. */
  images(images: HostTensor): Promise<HostTensor>;
  release(): Promise<void>;
}

export interface ClipFeatures extends FeatureExtractor {
  /** Length of the vectors. */
  readonly width: number;
  /** Texts → unit vectors in the same space, float32 [N, D]. */
  texts(texts: readonly string[]): Promise<HostTensor>;
}

export interface FeatureOptions extends ClipOptions {
  /** Images per run of the compiled network. Default 16. */
  batch?: number;
}

/**
 * Opens a `CLIPModel` folder of transformers as feature extractor. With `tokenizer: null`, images only.
 *
 * @throws FormatError naming the file that is missing or wrong
 */
export async function openFeatures(folder: string, options: FeatureOptions = {}): Promise<ClipFeatures> {
  const { batch = 16, ...clipOptions } = options;
  const clip = await openClip(folder, 'features', clipOptions);
  const compiled = new Map<string, Executable<'rows'>>();
  const compileFor = (shape: readonly number[]): Promise<Executable<'rows'>> => {
    const rows = clip.embedImages(input('images', shape));
    return compile({ outputs: { rows } }, { ...options.compile, weights: clip.weights });
  };
  return {
    width: clip.width,
    async images(images) {
      const shape = [batch, ...images.shape.slice(1)];
      const key = shape.join();
      const executable = compiled.get(key) ?? await compileFor(shape);
      compiled.set(key, executable);
      const n = images.shape[0]!;
      const features = new Float32Array(n * clip.width);
      for (let start = 0; start < n; start += batch) {
        const { rows } = await executable.run({ images: takeRows(images, start, batch) });
        const count = Math.min(batch, n - start);
        features.set((rows.data as Float32Array).subarray(0, count * clip.width), start * clip.width);
      }
      return host(features, [n, clip.width]);
    },
    texts: (texts) => clip.embedTexts(texts),
    async release() {
      for (const executable of compiled.values()) await executable.release();
      compiled.clear();
      await clip.release();
    },
  };
}
