/** @file The feature spaces by name, as a user writes them: `inception?file=…`, `dreamsim?folder=…`, `dino`, or a CLIP folder. */
import { z } from 'zod';
import { ConfigError } from '../formats/errors.js';
import { suggestion } from '../formats/nearest.js';
import { problemOf } from '../formats/plain-issues.js';
import { input } from '../graph/tensor.js';
import { INCEPTION_RESIZE } from '../models/inception.js';
import type { InceptionResize } from '../models/inception.js';
import { dinoEncoder, dreamSim, inceptionEncoder } from '../rewards/encoders.js';
import type { ImageEncoder } from '../rewards/image-encoder.js';
import { mapPaths, pathText } from '../rewards/path-option.js';
import type { Downloads } from '../rewards/published.js';
import { PUBLISHED } from '../rewards/published-files.js';
import { DINO_FILE, DREAMSIM, publishedFile } from '../rewards/registry.js';
import { inBatches } from '../rewards/rows.js';
import { compile } from '../runtime/compile.js';
import type { Executable, Execution } from '../runtime/compile.js';
import { openFeatures } from './features.js';
import type { FeatureExtractor } from './features.js';

interface Space {
  readonly options: z.ZodObject;
  open(options: Readonly<Record<string, unknown>>, downloads?: Downloads): Promise<ImageEncoder>;
}

function space<S extends z.ZodRawShape>(shape: S, open: (options: z.infer<z.ZodObject<S>>, downloads?: Downloads) => Promise<ImageEncoder>): Space {
  const options = z.strictObject(shape);
  return {
    options: options as unknown as z.ZodObject,
    open: (given, downloads) => open(options.parse(given) as z.infer<z.ZodObject<S>>, downloads),
  };
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
};

/** The space that a text names with its options; null for the path of a CLIP folder. @throws ConfigError for an option that is wrong */
function named(text: string): { space: Space; options: Record<string, unknown>; name: string } | null {
  const [, name = '', query] = /^(\w+)(?:\?(.*))?$/s.exec(text) ?? [];
  const found = Object.hasOwn(SPACES, name) ? SPACES[name]! : null;
  if (!found) return null;
  const options = Object.fromEntries((query ?? '').split(/&(?=\w+=)/).filter((pair) => pair !== '').map((pair) => {
    const at = pair.indexOf('=');
    return [pair.slice(0, Math.max(0, at)), pair.slice(at + 1)];
  }));
  const unknown = Object.keys(options).find((key) => !Object.hasOwn(found.options.shape, key));
  if (unknown !== undefined) throw new ConfigError(`features: ${name} has no option "${unknown}". ${suggestion(unknown, Object.keys(found.options.shape))}`);
  return { space: found, options, name };
}

/** A feature space as a user writes it, with every path in it replaced. */
export function mapSpacePaths(text: string, replace: (path: string) => string): string {
  const found = named(text);
  if (!found) return replace(text);
  const mapped = Object.entries(mapPaths(found.space.options, found.options, replace) as Record<string, string>);
  return mapped.length === 0 ? text : `${found.name}?${mapped.map(([key, value]) => `${key}=${value}`).join('&')}`;
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
  const found = named(text);
  if (!found) return openFeatures(text, { tokenizer: null, compile: execution });
  const parsed = found.space.options.safeParse(found.options);
  if (!parsed.success) {
    const { path, text: problem } = problemOf(parsed.error, found.options, found.space.options);
    throw new ConfigError(`features: ${found.name}, option ${path} ${problem}`);
  }
  return encoderFeatures(await found.space.open(found.options, downloads), execution);
}
