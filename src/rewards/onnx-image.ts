/** @file Any ONNX network that takes an image, and perhaps the prompt's tokens, as a piece of graph. */
import { MASK } from '../formats/names/onnx.js';
import { host, sizeOf } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { same } from '../graph/onnx/constants.js';
import { OnnxError } from '../graph/onnx/error.js';
import { importOnnx } from '../formats/onnx/import-file.js';
import type { OnnxFunction } from '../graph/onnx/import.js';
import { declaredInputs } from '../formats/onnx/inspect.js';
import type { DeclaredPort } from '../formats/onnx/inspect.js';
import { clip, div, mul, sub } from '../graph/ops/arithmetic.js';
import { concat, narrow, transpose } from '../graph/ops/layout.js';
import { roundStraightThrough } from '../graph/ops/rounding.js';
import { input, literal } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import { normalizePixels } from '../models/clip.js';
import { loadTokenizer } from '../loading/tokenizer-files.js';
import { fitSquare, resizePillow } from './clip-pixels.js';
import type { DifferentiableReward } from './reward.js';

const channels = (mean: readonly number[], deviation: readonly number[]) => (images: Tensor): Tensor =>
  div(sub(images, literal(mean, [3, 1, 1])), literal(deviation, [3, 1, 1]));

/** How a model wants its pixels, from [0, 1]. A file does not say, and the wrong one gives wrong scores in silence. */
export const PIXELS = {
  plain: (images: Tensor) => images,
  bytes: (images: Tensor) => mul(images, 255),
  signed: (images: Tensor) => sub(mul(images, 2), 1),
  imagenet: channels([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
  clip: normalizePixels,
} as const;

/** The order of an image input's axes. */
export const LAYOUTS = ['nchw', 'nhwc'] as const;
export type Layout = (typeof LAYOUTS)[number];

export interface OnnxImageOptions {
  readonly file: string;
  readonly pixels: keyof typeof PIXELS;
  /** Side of the square that the images are fitted to; only for models that leave it open. */
  readonly side?: number | undefined;
  /** Default: as the file's dimensions or their names tell, else the one with which the model can be computed. */
  readonly layout?: Layout | undefined;
  /** Name of the output; only for models with several. */
  readonly output?: string | undefined;
  /** Folder of the CLIP tokenizer; only for models that read the prompt. */
  readonly tokenizer?: string | undefined;
}

/** What a model's inputs are for. */
interface Roles {
  readonly image: DeclaredPort;
  readonly ids: DeclaredPort | undefined;
  readonly mask: DeclaredPort | undefined;
}

function rolesOf(file: string, inputs: readonly DeclaredPort[]): Roles {
  const isImage = ({ dtype, shape }: DeclaredPort): boolean => (dtype === 'float32' || dtype === 'uint8') && shape?.length === 4;
  const images = inputs.filter(isImage);
  const texts = inputs.filter(({ dtype }) => dtype === 'int64' || dtype === 'int32');
  const mask = texts.find(({ name }) => name.includes(MASK));
  const ids = texts.filter((port) => port !== mask);
  if (images.length !== 1 || ids.length > 1 || images.length + texts.length !== inputs.length) {
    const given = inputs.map(({ name, shape }) => `${name} [${shape?.map((d) => d ?? '?').join(', ') ?? '…'}]`).join(', ');
    throw new OnnxError(file, `cannot judge images: it takes ${given || 'nothing'}. It must take one image input `
      + '[B, 3, H, W] or [B, H, W, 3] of floats or bytes and, if it reads the prompt, token ids [B, L] and their mask');
  }
  const [image] = images as [DeclaredPort];
  return { image, ids: ids[0], mask };
}

/** Names that exporters and people give to an open dimension. */
const CHANNELS = /^(c|ch|chan|channels?|num_channels|in_channels|rgb|colou?rs?)$/i;
const LENGTH = /^(h|w|height|width|rows?|col(umn)?s?|image_(height|width)|h_?in|w_?in)$/i;

/** What the file says of the order of an image's axes, by lengths or by names. */
function declaredLayout({ shape }: DeclaredPort): Layout | undefined {
  const [, second, , last] = shape!;
  const isChannels = (d: typeof last): boolean => d === 3 || (typeof d === 'string' && CHANNELS.test(d));
  const isLength = (d: typeof last): boolean => (typeof d === 'number' && d !== 3) || (typeof d === 'string' && LENGTH.test(d));
  if (isChannels(second) && second === last) return 'nchw'; // [B, 3, H, 3]: what most models are
  if (isChannels(second) !== isChannels(last)) return isChannels(second) ? 'nchw' : 'nhwc';
  return isLength(second) === isLength(last) ? undefined : isLength(second) ? 'nhwc' : 'nchw';
}

export type Outputs = Readonly<Record<string, Tensor>>;

/** The output that is meant, of one row for each of `count` images. */
export function rowsOf({ file, output }: Pick<OnnxImageOptions, 'file' | 'output'>, outputs: Outputs, count: number): Tensor {
  const names = Object.keys(outputs);
  if (output === undefined && names.length !== 1) {
    throw new OnnxError(file, `has the outputs ${names.join(', ')}: choose one with the option output`);
  }
  const chosen = outputs[output ?? names[0]!];
  if (!chosen) throw new OnnxError(file, `has no output ${output}; its outputs: ${names.join(', ')}`);
  if (chosen.dtype !== 'float32' || chosen.shape[0] !== count || sizeOf(chosen.shape) < count) {
    throw new OnnxError(file, `has the output ${chosen} for ${count} images: not one row of numbers for each`);
  }
  return chosen;
}

/** What is made of the outputs for `count` images: a row for each. */
type PickRows = (outputs: Outputs, count: number, layout: Layout) => Tensor;

export interface OnnxNetwork extends Pick<DifferentiableReward, 'weights' | 'trace' | 'feeds'> {
  /** What it sees of images of any size. */
  readonly shape: string;
}

/**
 * A network in a file. The images are fitted to the model's size (shortest side resized with
 * Pillow's bicubic, centre cropped as transformers does; both sides resized if it is not square). A model that takes bytes gets them
 * rounded, with the gradient passed straight through. A model whose batch size is fixed is traced as often as needed.
 *
 * @throws OnnxError if the file is damaged, uses unsupported operators, or takes or gives something else
 * @throws FormatError for a tokenizer that is missing or wrong
 */
export async function openOnnx(name: string, options: OnnxImageOptions, pick: PickRows): Promise<OnnxNetwork> {
  const { file } = options;
  const roles = rolesOf(file, declaredInputs(file));
  if (roles.image.dtype === 'uint8' && options.pixels !== 'bytes') {
    throw new OnnxError(file, `takes bytes (input ${roles.image.name} is uint8): give pixels=bytes, not ${options.pixels}`);
  }
  const layout = options.layout ?? declaredLayout(roles.image);
  if (layout !== undefined) return openAs(name, options, roles, layout, pick);
  const tried = await Promise.allSettled(LAYOUTS.map((guess) => openAs(name, options, roles, guess, pick)));
  const works = tried.flatMap((t) => (t.status === 'fulfilled' ? [t.value] : []));
  if (works.length === 1) return works[0]!;
  if (works.length === 0) throw (tried[0] as PromiseRejectedResult).reason;
  throw new OnnxError(file, `does not tell whether its image input ${roles.image.name} has the channels first or last, `
    + 'and works with both: give layout=nchw ([B, 3, H, W]) or layout=nhwc ([B, H, W, 3])');
}

async function openAs(
  name: string, options: OnnxImageOptions, { image, ids, mask }: Roles, layout: Layout, pick: PickRows,
): Promise<OnnxNetwork> {
  const { file } = options;
  const channelsLast = layout === 'nhwc';
  const [fixedBatch, ...sides] = image.shape as [unknown, ...unknown[]];
  const [height, width] = (channelsLast ? sides.slice(0, 2) : sides.slice(1))
    .map((length) => (typeof length === 'number' ? length : options.side)) as [number?, number?];
  if (height === undefined || width === undefined) {
    throw new OnnxError(file, 'leaves the size of its image open: give the option side, for instance side=224');
  }
  if (ids && options.tokenizer === undefined) {
    throw new OnnxError(file, `reads the prompt (input ${ids.name}): give the option tokenizer, the folder of its CLIP tokenizer`);
  }
  const tokenizer = ids && await loadTokenizer(options.tokenizer!);
  const weights = new Map<string, HostTensor>();
  const models = new Map<number, OnnxFunction>();

  /** The model for so many images at once. Its weights are shared with those for other numbers of images. */
  function model(count: number): OnnxFunction {
    const known = models.get(count);
    if (known) return known;
    const shapes = {
      [image.name]: channelsLast ? [count, height!, width!, 3] : [count, 3, height!, width!],
      ...(ids && { [ids.name]: [count, tokenizer!.maxLength] }),
      ...(ids && mask && { [mask.name]: [count, tokenizer!.maxLength] }),
    };
    const given = { shapes, ...(image.dtype === 'uint8' && { asFloat: [image.name] }) };
    let made = importOnnx({ path: file }, { ...given, prefix: `${name}/` });
    // Values folded from the shapes may differ between batch sizes.
    const clashes = [...made.weights].some(([key, value]) => weights.has(key) && !same(weights.get(key)!, value));
    if (clashes) made = importOnnx({ path: file }, { ...given, prefix: `${name}/batch${count}/` });
    for (const [key, value] of made.weights) if (!weights.has(key)) weights.set(key, value);
    models.set(count, made);
    return made;
  }

  const textInputs = new Map<string, Tensor>();
  /** An input for each batch size, shared by all traces. */
  const textInput = (port: DeclaredPort, count: number): Tensor => {
    const key = textName(port, count);
    const known = textInputs.get(key) ?? input(key, [count, tokenizer!.maxLength], port.dtype!);
    textInputs.set(key, known);
    return known;
  };
  const textName = (port: DeclaredPort, count: number): string => `${name}/${port.name}${count}`;

  function trace(images: Tensor): Tensor {
    const count = images.shape[0]!;
    const fitted = PIXELS[options.pixels](height === width
      ? fitSquare(images, height!)
      : resizePillow(images, [height!, width!]));
    const whole = image.dtype === 'uint8' ? roundStraightThrough(clip(fitted, 0, 255)) : fitted;
    const pixels = channelsLast ? transpose(whole, [0, 2, 3, 1]) : whole;
    const piece = typeof fixedBatch === 'number' ? fixedBatch : count;
    if (count % piece !== 0) {
      throw new OnnxError(file, `takes ${piece} images at a time, which do not make ${count}: `
        + 'export it with an open batch dimension, or for one image');
    }
    const scores = Array.from({ length: count / piece }, (_, i) => {
      const rows = (x: Tensor): Tensor => (piece === count ? x : narrow(x, 0, i * piece, (i + 1) * piece));
      const texts = [ids, ids && mask].flatMap((port) => (port ? [[port.name, rows(textInput(port, count))]] : []));
      const outputs = model(piece).call({ [image.name]: rows(pixels), ...Object.fromEntries(texts) });
      return pick(outputs, piece, layout);
    });
    return scores.length === 1 ? scores[0]! : concat(scores, 0);
  }

  /** Token ids of the prompts, and 1 up to the end token of each: [B, L]. */
  async function feeds(prompts: readonly string[]): Promise<Record<string, HostTensor>> {
    if (!ids) return {};
    const { maxLength, eos, encode } = tokenizer!;
    const rows = prompts.map((prompt) => Array.from(encode(prompt).ids));
    const filled = (port: DeclaredPort, values: number[]): [string, HostTensor] => {
      const data = port.dtype === 'int64' ? BigInt64Array.from(values, BigInt) : Int32Array.from(values);
      return [textName(port, prompts.length), host(data, [prompts.length, maxLength], port.dtype!)];
    };
    const masks = rows.flatMap((row) => row.map((_, i) => (i <= row.indexOf(eos) ? 1 : 0)));
    return Object.fromEntries([filled(ids, rows.flat()), ...(mask ? [filled(mask, masks)] : [])]);
  }

  // Once now, so that what is wrong with the file shows before a run starts.
  const first = typeof fixedBatch === 'number' ? fixedBatch : 1;
  trace(input('images', [first, 3, height, width]));
  return { shape: `[B, ${channelsLast ? `${height}, ${width}, 3` : `3, ${height}, ${width}`}]`, weights, trace, feeds };
}
