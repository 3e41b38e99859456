/** @file Prompts are looked at before any work begins. */
import { shown } from '../formats/errors.js';
import type { Pipeline } from '../models/pipeline.js';
import { tokenize } from '../models/prompt.js';
import { SamplingError } from '../schedulers/errors.js';

/** Warnings of one kind that are told one by one. */
const MOST_TOLD = 3;

/**
 * Looks at every prompt before any work begins, in every command alike: what does not fit into the model's tokens is
 * cut off and warned of.
 *
 * @throws SamplingError for a prompt of more than 8192 characters
 */
export function checkPrompts(pipeline: Pipeline, prompts: readonly string[], warn: (text: string) => void): void {
  const room = pipeline.textEncoders[0]!.tokenizer.maxLength - 2;
  let cut = 0;
  for (const prompt of new Set(prompts)) {
    const rest = restOf(pipeline, prompt);
    if (rest === null || ++cut > MOST_TOLD) continue;
    warn(`"${shown(prompt)}" is longer than the model's ${room} tokens; this is cut off: "${shown(rest)}"`);
  }
  if (cut > MOST_TOLD) warn(`${cut - MOST_TOLD} more prompts are longer than the model's ${room} tokens and are cut off`);
}

/** The end of a prompt that the tokenizer has no room for. */
function restOf(pipeline: Pipeline, prompt: string): string | null {
  try {
    return tokenize(pipeline, [prompt]).truncated[0]!;
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new SamplingError(`"${shown(prompt)}": ${cause.message}`, { cause });
  }
}
