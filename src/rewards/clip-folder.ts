/** @file A CLIP model as rewards and measures use it: images in a graph, texts ready embedded. */
import { FormatError } from '../formats/errors.js';
import { host } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { input } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import { LEGACY_END_TOKEN } from '../models/clip-text.js';
import { imageFeatures, normalizePixels, textFeatures } from '../models/clip.js';
import { readComponent } from '../loading/component-files.js';
import type { Component } from '../loading/component-files.js';
import type { ClipTextConfig } from '../models/config.js';
import { loadTokenizer } from '../loading/tokenizer-files.js';
import type { Tokenizer } from '../models/tokenizer.js';
import { frozenWeights, rootScope } from '../nn/scope.js';
import { compile } from '../runtime/compile.js';
import type { Executable, Execution } from '../runtime/compile.js';
import { fitSquare } from './clip-pixels.js';

export interface ClipOptions {
  /** Folder of the tokenizer; null to embed images only. Default: the model's folder, as transformers lays it out. */
  tokenizer?: string | null;
  compile?: Execution;
  /** Makes images of any size [B, 3, side, side]. Default: `fitSquare`, as transformers' processor does. */
  fit?: (images: Tensor, side: number) => Tensor;
  /** What is done to texts before the tokenizer. Default: nothing, as in transformers. */
  clean?: (text: string) => string;
}

export interface Clip {
  /** Length of the embeddings. */
  readonly width: number;
  /** exp(logit_scale): what the cosines were multiplied by in training. */
  readonly scale: number;
  /** All weights, named `<label>/<name>` like the frozen inputs of the traces. */
  readonly weights: ReadonlyMap<string, HostTensor>;
  /** Images [B, 3, H, W] in [0, 1], of any size → unit vectors [B, P]. */
  embedImages(images: Tensor): Tensor;
  /** Texts → unit vectors, float32 [N, P]. Each text is computed once. Texts too long are cut. */
  embedTexts(texts: readonly string[]): Promise<HostTensor>;
  release(): Promise<void>;
}

/** Texts that run through the encoder together. */
const TEXT_BATCH = 8;

/**
 * Opens a `CLIPModel` folder of transformers: `config.json`, `model.safetensors` and tokenizer files.
 *
 * @param label begins the names of all graph inputs, so that several models fit into one graph
 * @throws FormatError naming the file that is missing or wrong
 */
export async function openClip(folder: string, label: string, options: ClipOptions = {}): Promise<Clip> {
  return makeClip(await readComponent(folder, 'CLIPModel'), label, { tokenizer: folder, ...options });
}

export interface MakeClipOptions extends ClipOptions {
  tokenizer: string | null;
}

/**
 * The same of a model that is read already.
 *
 * @throws FormatError for a tokenizer that is missing, wrong, or another model's
 */
export async function makeClip(
  { config, weights: plain }: Pick<Component<'CLIPModel'>, 'config' | 'weights'>, label: string,
  { tokenizer: folder, fit = fitSquare, clean = (text) => text, ...options }: MakeClipOptions,
): Promise<Clip> {
  const tokenizer = folder === null ? null : await loadTokenizer(folder);
  if (tokenizer) checkTokenizer(tokenizer, config.text_config, folder!);
  const weights = new Map([...plain].map(([name, t]) => [`${label}/${name}`, t]));
  const scope = rootScope(frozenWeights(`${label}/`));
  const { image_size: side } = config.vision_config;
  const width = config.projection_dim;

  let encoder: Promise<Executable<'rows'>> | null = null;
  const known = new Map<string, Float32Array>();

  async function compute(texts: readonly string[]): Promise<void> {
    if (!tokenizer) throw new Error(`${label} was opened for images only`);
    const length = tokenizer.maxLength;
    encoder ??= compile(
      { outputs: { rows: textFeatures(scope, config, input('ids', [TEXT_BATCH, length], 'int64')) } },
      { ...options.compile, weights },
    );
    const { run } = await encoder;
    for (let start = 0; start < texts.length; start += TEXT_BATCH) {
      const part = texts.slice(start, start + TEXT_BATCH);
      const ids = new BigInt64Array(TEXT_BATCH * length).fill(BigInt(tokenizer.eos));
      part.forEach((text, i) => ids.set(Array.from(tokenizer.encode(clean(text)).ids, BigInt), i * length));
      const { rows } = await run({ ids: host(ids, [TEXT_BATCH, length], 'int64') });
      const values = rows.data as Float32Array;
      part.forEach((text, i) => known.set(text, values.slice(i * width, (i + 1) * width)));
    }
  }

  return {
    width,
    scale: Math.exp(plain.get('logit_scale')!.data[0] as number),
    weights,
    embedImages: (images) => imageFeatures(scope, config, normalizePixels(fit(images, side))),
    async embedTexts(texts) {
      await compute([...new Set(texts)].filter((text) => !known.has(text)));
      const rows = new Float32Array(texts.length * width);
      texts.forEach((text, i) => rows.set(known.get(text)!, i * width));
      return host(rows, [texts.length, width]);
    },
    async release() {
      await (await encoder?.catch(() => null))?.release();
      encoder = null;
    },
  };
}

/** @throws FormatError if the tokenizer's ids are not those that the text model was trained on */
function checkTokenizer({ maxLength, eos }: Tokenizer, config: ClipTextConfig, folder: string): void {
  const { max_position_embeddings: positions, vocab_size: words, eos_token_id: end } = config;
  if (maxLength <= positions && eos < words && (eos === end || end === LEGACY_END_TOKEN)) return;
  const due = `${positions} of a vocabulary of ${words}${end === LEGACY_END_TOKEN ? '' : ` that end with ${end}`}`;
  throw new FormatError(folder, `gives ${maxLength} tokens that end with ${eos}, where the CLIP model takes ${due}`,
    'Give the folder of the tokenizer that the model was trained with.');
}
