/** @file Prompts as what conditions the network, each encoded once and remembered for a while. */
import { shown } from '../formats/errors.js';
import { host } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { encodePrompts, sizesOf, tokenize } from '../models/prompt.js';
import type { EncodedPrompts } from '../models/prompt.js';
import { isSdxl } from '../models/pipeline.js';
import type { Pipeline } from '../models/pipeline.js';
import type { Execution, Feeds } from '../runtime/compile.js';
import { SamplingError } from '../schedulers/plan.js';

/** Prefixes of the graph inputs, for `conditionInputs`. */
export const POSITIVE = 'condition/';
export const NEGATIVE = 'negative/';

/** Prompts that are remembered: text states of many thousand would not fit into memory. */
export const REMEMBERED = 256;

export interface ConditionSettings {
  /** null: the network is not called without the prompt. */
  readonly negativePrompt: string | null;
  readonly guidance: number;
  readonly height: number;
  readonly width: number;
  readonly compile: Execution;
}

export interface Conditions {
  /** Encodes those prompts that are not remembered, all at once: cheaper than batch by batch. */
  prepare(prompts: readonly string[]): Promise<void>;
  /** Feeds `condition/…` and, with a negative prompt, `negative/…` for a batch. */
  feeds(prompts: readonly string[]): Promise<Feeds>;
}

/** Guidance is an input of the network itself (LCM), not a second call of it. */
const hasGuidanceInput = ({ unet }: Pick<Pipeline, 'unet'>): boolean => unet.time_cond_proj_dim !== null;

/** Whether the network is called a second time, without the prompt: above 1 only, as diffusers has it. */
export const isGuided = (pipeline: Pick<Pipeline, 'unet'>, guidance: number): boolean =>
  guidance > 1 && !hasGuidanceInput(pipeline);

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

/** What one prompt became: tensors [1, …] by name. */
type Row = Readonly<Record<string, HostTensor>>;

/** Encodes the negative prompt, and then every prompt when it is asked for. */
export async function openConditions(pipeline: Pipeline, settings: ConditionSettings): Promise<Conditions> {
  const { negativePrompt, guidance, height, width, compile } = settings;
  const encode = async (prompts: readonly string[], negative: boolean): Promise<Row[]> =>
    rowsOf(await encodePrompts(pipeline, prompts, { ...compile, negative }), prompts.length);
  const none = negativePrompt === null ? null : (await encode([negativePrompt], true))[0]!;
  const known = new Map<string, Row>(); // the last used at the end

  const prepare = async (prompts: readonly string[]): Promise<void> => {
    const wanted = [...new Set(prompts)];
    const fresh = wanted.filter((prompt) => !known.has(prompt));
    const rows = fresh.length > 0 ? await encode(fresh, false) : [];
    const added = new Map(fresh.map((prompt, i) => [prompt, rows[i]!]));
    for (const prompt of wanted) {
      const row = added.get(prompt) ?? known.get(prompt)!;
      known.delete(prompt);
      known.set(prompt, row);
    }
    const room = Math.max(REMEMBERED, wanted.length);
    for (const prompt of [...known.keys()].slice(0, Math.max(0, known.size - room))) known.delete(prompt);
  };

  const batchOf = (prefix: string, rows: readonly Row[]): Feeds => ({
    ...Object.fromEntries(Object.keys(rows[0]!).map((name) => [prefix + name, joined(rows.map((row) => row[name]!))])),
    ...(isSdxl(pipeline) && { [`${prefix}sizes`]: sizesOf(rows.length, height, width) }),
    ...(hasGuidanceInput(pipeline) && {
      [`${prefix}guidance`]: host(new Float32Array(rows.length).fill(guidance), [rows.length]),
    }),
  });

  return {
    prepare,
    async feeds(prompts) {
      await prepare(prompts);
      const positive = batchOf(POSITIVE, prompts.map((prompt) => known.get(prompt)!));
      return none ? { ...positive, ...batchOf(NEGATIVE, prompts.map(() => none)) } : positive;
    },
  };
}

function rowsOf({ context, pooled }: EncodedPrompts, count: number): Row[] {
  const rows = ({ data, shape }: HostTensor, i: number): HostTensor => {
    const size = data.length / count;
    return host((data as Float32Array).slice(i * size, (i + 1) * size), [1, ...shape.slice(1)]);
  };
  return Array.from({ length: count }, (_, i) => ({
    context: rows(context, i), ...(pooled && { pooled: rows(pooled, i) }),
  }));
}

/** Rows [1, …] as one tensor [N, …]. */
function joined(rows: readonly HostTensor[]): HostTensor {
  const size = rows[0]!.data.length;
  const data = new Float32Array(rows.length * size);
  rows.forEach((row, i) => data.set(row.data as Float32Array, i * size));
  return host(data, [rows.length, ...rows[0]!.shape.slice(1)]);
}
