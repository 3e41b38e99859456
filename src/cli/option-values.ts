/** @file Option values that several commands share: whole numbers, repeated options, LoRAs with a strength. */
import { InvalidArgumentError, Option } from 'commander';
import { parseNumber } from './arguments.js';

/** A parser of whole numbers of at least `least`. */
export function wholeNumber(least: number): (text: string) => number {
  return (text) => {
    const value = parseNumber(text);
    if (!Number.isSafeInteger(value) || value < least) {
      throw new InvalidArgumentError(`"${text}" is not a whole number of at least ${least}.`);
    }
    return value;
  };
}

/** `--like`, for commands that load a model. */
export const likeOption = (): Option =>
  new Option('--like <model>', 'of a single file: the folder or hub id that has its tokenizer and configuration');

/** Appends the value of an option that may be given several times. */
export const collect = (value: string, all: readonly string[] = []): string[] => [...all, value];

/** A LoRA to apply. */
export interface LoraArgument {
  readonly path: string;
  /** 1 is as trained; negative, and above one, are possible. */
  readonly strength: number;
}

/** Reads `FILE[:scale]`. A colon that no number follows belongs to the path (`C:\lora.safetensors`). */
export function parseLora(text: string): LoraArgument {
  const [, path = text, scale = '1'] = /^(.+):([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)$/i.exec(text) ?? [];
  if (path === '') throw new InvalidArgumentError('give a file, or FILE:scale.');
  const strength = parseNumber(scale);
  return { path, strength };
}

/** Appends one more LoRA. */
export const collectLora = (text: string, all: readonly LoraArgument[] = []): LoraArgument[] =>
  [...all, parseLora(text)];
