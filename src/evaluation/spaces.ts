/** @file The feature spaces by name, as a user writes them: `inception?file=…`, `dreamsim?folder=…`, `dino`, `onnx?file=…`, or a CLIP folder. */
import { z } from 'zod';
import { input } from '../graph/tensor.js';
import { INCEPTION_RESIZE } from '../models/inception.js';
import type { InceptionResize } from '../models/inception.js';
import { dinoEncoder, dreamSim, inceptionEncoder } from '../rewards/encoders.js';
import type { ImageEncoder } from '../rewards/image-encoder.js';
import { onnxEncoder } from '../rewards/onnx-encoder.js';
import { pathText } from '../rewards/path-option.js';
import type { Downloads } from '../rewards/published.js';
import { PUBLISHED } from '../rewards/published-files.js';
import { DINO_FILE, DREAMSIM, ONNX_IMAGE_OPTIONS, publishedFile } from '../rewards/registry.js';
import { inBatches } from '../rewards/rows.js';
import { compile } from '../runtime/compile.js';
import type { Executable, Execution } from '../runtime/compile.js';
import { openFeatures } from './features.js';
import type { FeatureExtractor } from './features.js';
import { findNamed, mapNamedPaths, valuesOf } from './named-options.js';
import type { Named } from './named-options.js';

interface Space extends Named {
  open(options: Readonly<Record<string, unknown>>, downloads?: Downloads): Promise<ImageEncoder>;
}

function space<S extends z.ZodRawShape>(shape: S, open: (options: z.infer<z.ZodObject<S>>, downloads?: Downloads) => Promise<ImageEncoder>): Space {
  return { options: z.strictObject(shape) as unknown as z.ZodObject, open: (given, downloads) => open(given as z.infer<z.ZodObject<S>>, downloads) };
}

/** FID is the Fréchet distance in `inception`; DreamSim's diversity the mean pairwise distance in `dreamsim`. */
const SPACES: Readonly<Record<string, Space>> = {
  inception: space({
    file: pathText('pt_inception-2015-12-05-6726825d.pth of github.com/mseitzer/pytorch-fid/releases'),
    resize: z.enum(Object.keys(INCEPTION_RESIZE) as [InceptionResize]).default('pytorch-fid').describe('pytorch-fid, or clean as in clean-fid'),
  }, ({ file, resize }) => inceptionEncoder('features', file, resize)),
  dreamsim: space(DREAMSIM, ({ folder, type }) => dreamSim('features', folder, type)),
  dino: space({ file: DINO_FILE }, async ({ file }, downloads) =>
    dinoEncoder('features', file ?? await publishedFile(PUBLISHED.dino, 'features: dino?file=PATH', downloads))),
  onnx: space({ file: pathText('the .onnx file'), ...ONNX_IMAGE_OPTIONS }, (options) => onnxEncoder('features', options)),
};

const SETTING = 'features';

/** A feature space as a user writes it, with every path in it replaced. */
export function mapSpacePaths(text: string, replace: (path: string) => string): string {
  const found = findNamed(SPACES, text, SETTING);
  return found ? mapNamedPaths(found, replace) : replace(text);
}

/** The vectors of an encoder, a batch at a time; compiled once for each size of image. */
export function encoderFeatures(encoder: ImageEncoder, execution: Execution, batch = 8): FeatureExtractor {
  const compiled = new Map<string, Executable<'rows'>>();
  return {
    async images(images) {
      const shape = [batch, ...images.shape.slice(1)];
      const key = shape.join();
      const executable = compiled.get(key)
        ?? await compile({ outputs: { rows: encoder.embed(input('images', shape)) } }, { ...execution, weights: encoder.weights });
      compiled.set(key, executable);
      return inBatches(images, batch, async (rows) => (await executable.run({ images: rows })).rows);
    },
    async release() {
      for (const executable of compiled.values()) await executable.release();
      compiled.clear();
    },
  };
}

/**
 * Opens a feature space.
 *
 * @param text a name with its options, or the folder of a CLIP model
 * @throws ConfigError for an option that is wrong; FormatError for a file that is missing or wrong
 */
export async function openSpace(text: string, execution: Execution, downloads?: Downloads): Promise<FeatureExtractor> {
  const found = findNamed(SPACES, text, SETTING);
  if (!found) return openFeatures(text, { tokenizer: null, compile: execution });
  return encoderFeatures(await found.entry.open(valuesOf(found, SETTING), downloads), execution);
}
