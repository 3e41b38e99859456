/** @file The prompts of a job as what conditions the network, batch by batch. */
import { host } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { encodePrompts, sizesOf, tokenize } from '../models/prompt.js';
import type { EncodeOptions } from '../models/prompt.js';
import { isSdxl } from '../models/pipeline.js';
import type { Pipeline } from '../models/pipeline.js';
import type { Feeds } from '../runtime/compile.js';

/** Prefixes of the graph inputs, for `conditionInputs`. */
export const POSITIVE = 'condition/';
export const NEGATIVE = 'negative/';

export interface ConditionSettings {
  /** null: the network is not called without the prompt. */
  readonly negativePrompt: string | null;
  readonly guidance: number;
  readonly height: number;
  readonly width: number;
}

/** Feeds for a batch that has these prompts, among those that were encoded. */
export type ConditionFeeds = (prompts: readonly string[]) => Feeds;

/** Guidance is an input of the network itself (LCM), not a second call of it. */
export const hasGuidanceInput = ({ unet }: Pick<Pipeline, 'unet'>): boolean => unet.time_cond_proj_dim !== null;

/**
 * The ends of prompts that the tokenizer has no room for, by prompt.
 *
 * @throws RangeError for a prompt of more than 8192 characters
 */
export function cutPrompts(pipeline: Pipeline, prompts: readonly string[]): Map<string, string> {
  const all = [...new Set(prompts)];
  const { truncated } = tokenize(pipeline, all);
  return new Map(all.flatMap((prompt, i) => (truncated[i] == null ? [] : [[prompt, truncated[i]] as const])));
}

/** Encodes each prompt once. */
export async function encodeConditions(
  pipeline: Pipeline, prompts: readonly string[], settings: ConditionSettings,
  compile: Pick<EncodeOptions, 'device' | 'threads'>,
): Promise<ConditionFeeds> {
  const { negativePrompt, guidance, height, width } = settings;
  const all = [...new Set(prompts)];
  const row = new Map(all.map((prompt, i) => [prompt, i]));
  const positive = await encodePrompts(pipeline, all, compile);
  const negative = negativePrompt === null
    ? null
    : await encodePrompts(pipeline, [negativePrompt], { ...compile, negative: true });
  const strengths = (count: number): HostTensor => host(new Float32Array(count).fill(guidance), [count]);
  const named = (prefix: string, encoded: typeof positive, rows: readonly number[]): Feeds => ({
    [`${prefix}context`]: takeRows(encoded.context, rows),
    ...(encoded.pooled && { [`${prefix}pooled`]: takeRows(encoded.pooled, rows) }),
    ...(isSdxl(pipeline) && { [`${prefix}sizes`]: sizesOf(rows.length, height, width) }),
    ...(hasGuidanceInput(pipeline) && { [`${prefix}guidance`]: strengths(rows.length) }),
  });
  return (batch) => ({
    ...named(POSITIVE, positive, batch.map((prompt) => row.get(prompt)!)),
    ...(negative && named(NEGATIVE, negative, batch.map(() => 0))),
  });
}

/** Rows of a tensor [N, …], in any order and number. */
function takeRows({ data, shape }: HostTensor, rows: readonly number[]): HostTensor {
  const size = data.length / shape[0]!;
  const taken = new Float32Array(rows.length * size);
  rows.forEach((row, i) => taken.set((data as Float32Array).subarray(row * size, (row + 1) * size), i * size));
  return host(taken, [rows.length, ...shape.slice(1)]);
}
