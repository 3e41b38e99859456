/**
 * @file What a reward is: a number for each image, given the image and its own prompt. Differentiable ones are traced
 * into a graph; black boxes are only called.
 */
import { withoutSecrets } from '../formats/url-secrets.js';
import type { HostTensor } from '../graph/dtype.js';
import type { Tensor } from '../graph/tensor.js';
import type { Feeds } from '../runtime/compile.js';
import type { Term } from './terms.js';

interface About {
  /** The registry's name, unique among the rewards of a run: it also names the graph inputs. */
  readonly name: string;
  /** What is measured, with its formula, in a line or two. */
  readonly description: string;
  /** Plausible lowest and highest score: for people, axes and rough normalisation, not a bound to be enforced. */
  readonly range: readonly [low: number, high: number];
  /** Of a sum: its rewards. */
  readonly parts?: readonly RewardPart[];
  /** Frees what the reward holds beyond memory. */
  release?(): Promise<void>;
}

export interface RewardPart {
  readonly reward: Reward;
  /** What its score adds to the sum. */
  readonly term: Term;
}

export interface PartScores {
  readonly total: Float32Array;
  /** What each reward of a sum gave by itself, by name; empty unless it is a sum. */
  readonly parts: ReadonlyMap<string, Float32Array>;
}

export interface DifferentiableReward extends About {
  readonly differentiable: true;
  /** Values of the frozen inputs that the traces so far read, by input name: look after tracing. */
  readonly weights: ReadonlyMap<string, HostTensor>;
  /**
   * Scores as a graph. What depends on the prompts is read from inputs that `feeds` fills; traces of one batch size
   * share these inputs, so a graph may score several batches of images that have the same prompts.
   *
   * @param images [B, 3, H, W] in [0, 1]
   * @param each takes note of what each reward of a sum gives by itself, [B] by name
   * @returns [B]
   */
  trace(images: Tensor, each?: Map<string, Tensor>): Tensor;
  /** Values of the prompt inputs for a batch of `prompts.length` images, prompt i being that of image i. */
  feeds(prompts: readonly string[]): Promise<Feeds>;
  /** The same scores in smaller pieces than the traced graph, where that is large; for whoever needs no gradient. */
  score?: BlackBoxReward['score'];
}

export interface BlackBoxReward extends About {
  readonly differentiable: false;
  /**
   * @param images [B, 3, H, W] in [0, 1]
   * @param prompts B prompts, prompt i being that of image i
   * @param signal once it is aborted the scores are wanted no more: one that waits for others rejects with its reason
   * @returns B scores
   */
  score(images: HostTensor, prompts: readonly string[], signal?: AbortSignal): Promise<Float32Array>;
  /** Of a sum: the same, and what each of its rewards gave. */
  scoreParts?(images: HostTensor, prompts: readonly string[]): Promise<PartScores>;
}

export type Reward = DifferentiableReward | BlackBoxReward;

/** A reward that does not exist or is written wrongly: the user's to mend. What it says holds no password of an address. */
export class RewardSpecError extends Error {
  override readonly name = 'RewardSpecError';

  constructor(message: string) {
    super(withoutSecrets(message));
  }
}

/** A reward that broke its contract, or was used against it. The message names the reward. */
export class RewardError extends Error {
  override readonly name = 'RewardError';
}

/** A differentiable reward that sees the pixels only: no weights, no prompts. */
export function pixelReward(
  about: About & { readonly trace: (images: Tensor) => Tensor },
): DifferentiableReward {
  return { ...about, differentiable: true, weights: new Map(), feeds: async () => ({}) };
}

/** @throws RewardError unless images are float32 [N, 3, H, W], N > 0, with one prompt each */
export function checkBatch(name: string, images: HostTensor, prompts: readonly string[]): void {
  const [n, channels] = images.shape;
  if (images.dtype !== 'float32' || images.shape.length !== 4 || channels !== 3 || images.data.length === 0) {
    const given = `${images.dtype} [${images.shape.join(', ')}]`;
    throw new RewardError(`reward ${name} scores images of float32 [N, 3, H, W], not ${given}`);
  }
  if (prompts.length !== n) {
    throw new RewardError(`reward ${name} got ${n} images with ${prompts.length} prompts; each image needs its own`);
  }
}

/** @throws RewardError unless there are `prompts.length` finite scores */
export function checkScores(name: string, scores: unknown, prompts: readonly string[]): asserts scores is Float32Array {
  if (!(scores instanceof Float32Array) || scores.length !== prompts.length) {
    const given = scores instanceof Float32Array ? `${scores.length}` : `${typeof scores} instead of float32`;
    const due = `it must return one for each of ${prompts.length} images`;
    throw new RewardError(`reward ${name} returned ${given} scores; ${due}`);
  }
  const bad = scores.findIndex((s) => !Number.isFinite(s));
  if (bad >= 0) {
    throw new RewardError(`reward ${name} returned ${scores[bad]} for image ${bad} ("${prompts[bad]}"); `
      + 'a score must be a finite number');
  }
}
