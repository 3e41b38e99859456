/** @file ImageReward v1.0 (Xu et al., arXiv 2304.05977), from its checkpoint as it is published. */
import { FormatError } from '../formats/errors.js';
import { host } from '../graph/dtype.js';
import { div, sub } from '../graph/ops/arithmetic.js';
import { input } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import { blipReward, readBlipReward } from '../loading/blip-reward.js';
import { normalizePixels } from '../models/clip.js';
import { loadWordPiece } from '../loading/wordpiece-file.js';
import { frozenWeights, rootScope } from '../nn/scope.js';
import { fitSquareTorchvision } from './clip-pixels.js';
import type { DifferentiableReward } from './reward.js';

export interface ImageRewardOptions {
  /** `ImageReward.pt`. */
  readonly file: string;
  /** `vocab.txt` of bert-base-uncased. */
  readonly vocab: string;
}

/** Of the raw scores on the authors' data (ImageReward/ImageReward.py of github.com/THUDM/ImageReward). */
const [MEAN, DEVIATION] = [0.16717362830052426, 1.0333394966054072];

/** Tokens of a prompt, as in the authors' `score`; several other codes cut at 512 instead. */
const LENGTH = 35;

/** BLIP adds them to BERT's vocabulary; ImageReward's prompts begin with [CLS] all the same. */
const ADDED = ['[DEC]', '[ENC]'];

/**
 * How people would rate the image for its prompt, (x − mean)/deviation of the network's x: about 0 on average, most
 * between −2 and 2.
 *
 * @throws FormatError naming the file that is missing or wrong
 */
export async function imageReward(name: string, { file, vocab }: ImageRewardOptions): Promise<DifferentiableReward> {
  const tokenizer = await loadWordPiece(vocab, LENGTH, ADDED);
  const { config, weights } = await readBlipReward(file);
  const { vocab_size: words } = config.text;
  if (tokenizer.size !== words) {
    const made = `makes ${tokenizer.size} tokens with ${ADDED.join(' and ')}`;
    throw new FormatError(vocab, `${made}, where ${file} has ${words}`, 'Give the vocab.txt of bert-base-uncased.');
  }
  const scope = rootScope(frozenWeights(`${name}/`));
  const inputs = new Map<string, Tensor>();
  const inputName = (what: 'ids' | 'mask', batch: number): string => `${name}/${what}${batch}`;
  /** One input of each kind for each batch size, shared by all traces. */
  const textInput = (what: 'ids' | 'mask', batch: number): Tensor => {
    const key = inputName(what, batch);
    const known = inputs.get(key) ?? input(key, [batch, LENGTH], what === 'ids' ? 'int64' : 'float32');
    inputs.set(key, known);
    return known;
  };
  return {
    name,
    description: 'human preference: ImageReward',
    range: [-2.5, 2.5],
    differentiable: true,
    weights: new Map([...weights].map(([key, value]) => [`${name}/${key}`, value])),
    trace(images) {
      const batch = images.shape[0]!;
      const pixels = normalizePixels(fitSquareTorchvision(images, config.vision.image_size));
      const raw = blipReward(scope, config, pixels, textInput('ids', batch), textInput('mask', batch));
      return div(sub(raw, MEAN), DEVIATION);
    },
    async feeds(prompts) {
      const shape = [prompts.length, LENGTH];
      const encoded = prompts.map((prompt) => tokenizer.encode(prompt));
      const ids = encoded.flatMap((e) => Array.from(e.ids, BigInt));
      const mask = encoded.flatMap(({ count }) => Array.from({ length: LENGTH }, (_, i) => (i < count ? 1 : 0)));
      return {
        [inputName('ids', prompts.length)]: host(BigInt64Array.from(ids), shape, 'int64'),
        [inputName('mask', prompts.length)]: host(Float32Array.from(mask), shape),
      };
    },
  };
}
