/** @file Option values that several commands share: whole numbers, repeated options, LoRAs with a strength. */
import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { PREDICTIONS } from '../loading/load-single-file.js';
import type { Prediction } from '../loading/load-single-file.js';
import { PRECISION_NAMES } from '../nn/precision.js';
import type { PrecisionName } from '../nn/precision.js';
import type { Device } from '../runtime/device.js';
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

/** How a model is to be loaded, by flags or a configuration. */
export interface ModelFlags {
  like?: string | undefined;
  vae?: string | undefined;
  prediction?: Prediction | undefined;
  embedding?: readonly string[] | undefined;
  clipSkip?: number | undefined;
  precision?: PrecisionName | 'auto' | undefined;
  device?: Device | undefined;
}

/** Adds the flags that say how a model is loaded, for commands that load one. */
export function withLoadFlags(command: Command): Command {
  return command
    .option('--like <model>', 'of a single file: the folder or hub id that has its tokenizer and configuration')
    .option('--vae <name>', 'VAE in the place of the model\'s own, or of one that has none: folder, file or hub id')
    .addOption(new Option('--prediction <kind>', 'what the network predicts, where the model does not tell it (SD 2.x files)')
      .choices(PREDICTIONS));
}

/** Adds the flags that say what prompts mean to it, for commands that have prompts. */
export function withTextFlags(command: Command): Command {
  return command
    .option('--embedding <file[:word]>', 'Textual Inversion of diffusers, A1111 or ComfyUI, or hub id; its word for prompts, '
      + 'by default the one it has or the file\'s name; repeatable', collectText)
    .option('--clip-skip <n>', 'leave out the last n layers of the text encoder, as diffusers counts; A1111\'s and '
      + 'ComfyUI\'s numbers are one higher', wholeNumber(0));
}

/** Adds the flag for what it is computed in, for commands that compute with it. */
export function withPrecisionFlag(command: Command): Command {
  return command.addOption(new Option('--precision <name>', 'float16-storage and bfloat16-storage keep weights in half of the memory, '
    + 'which takes longer; mixed computes in float16, for GPUs (default: mixed on a WebGPU device that can, else float32)').choices(PRECISION_NAMES));
}

/** Appends a text. */
const collectText = (value: string, all: readonly string[] = []): string[] => [...all, value];

/** Appends the value of an option that may be given several times. */
export const collect = (value: string, all: readonly string[] = []): string[] => [...all, value];

/** A LoRA to apply. */
export interface LoraArgument {
  /** A file or folder, or `org/name[/file][@revision]` on the hub. */
  readonly path: string;
  /** 1 is as trained; negative, and above one, are possible. */
  readonly strength: number;
}

/** `--lora` with its help. */
export const loraFlag = (about: string): [flags: string, description: string] =>
  ['--lora <file[:scale]>', `LoRA of any dialect, or hub id org/name[/file][@revision]; ${about}`];

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
