/** @file Prompts → what conditions the denoiser, as the pipelines of diffusers encode them. */
import { host } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { input } from '../graph/tensor.js';
import { frozenWeights } from '../nn/scope.js';
import type { Adapter } from '../nn/scope.js';
import { compile } from '../runtime/compile.js';
import type { CompileOptions, Feeds } from '../runtime/compile.js';
import type { Pipeline } from './pipeline.js';

/** Token ids of prompts for each text encoder, [B, N] each, and what of each prompt did not fit (null if all did). */
export function tokenize(
  pipeline: Pipeline, prompts: readonly string[],
): { ids: HostTensor[]; truncated: (string | null)[] } {
  const truncated: (string | null)[] = prompts.map(() => null);
  const ids = pipeline.textEncoders.map(({ tokenizer }) => {
    const n = tokenizer.maxLength;
    const rows = new BigInt64Array(prompts.length * n);
    prompts.forEach((prompt, i) => {
      const encoding = tokenizer.encode(prompt);
      encoding.ids.forEach((id, j) => (rows[i * n + j] = BigInt(id)));
      truncated[i] ??= encoding.truncated;
    });
    return host(rows, [prompts.length, n], 'int64');
  });
  return { ids, truncated };
}

export interface EncodedPrompts {
  /** What the family makes of prompts, by name: text states [N, T, D] for instance. */
  conditions: Readonly<Record<string, HostTensor>>;
  /** What of each prompt did not fit, to warn about. */
  truncated: (string | null)[];
}

export interface EncodeOptions extends Omit<CompileOptions, 'weights'> {
  adapters?: readonly Adapter[];
  /** Numbers of the adapters' inputs. */
  feeds?: Feeds;
  /** Whether these are negative prompts, of which some models take the empty one as zeros. */
  negative?: boolean;
}

/** Prompts that run through the encoder together at most. */
export const ENCODED_TOGETHER = 8;

export interface PromptEncoder {
  /** Encodes a list of prompts, in its order. */
  encode(prompts: readonly string[]): Promise<EncodedPrompts>;
  release(): Promise<void>;
}

/** Compiles the text encoders for lists of about `count` prompts. */
export async function openPromptEncoder(pipeline: Pipeline, count: number, options: EncodeOptions = {}): Promise<PromptEncoder> {
  const { adapters = [], feeds = {}, negative = false, ...compileOptions } = options;
  const batch = Math.min(ENCODED_TOGETHER, count);
  const lengths = pipeline.textEncoders.map((e) => e.tokenizer.maxLength);
  const ids = lengths.map((n, i) => input(`ids_${i}`, [batch, n], 'int64'));
  const { conditions } = pipeline.family;
  const outputs = conditions.encode(
    pipeline, ids, frozenWeights(), adapters, negative ? undefined : pipeline.clipSkip, // diffusers: no negative prompt
  );
  const executable = await compile({ outputs }, { ...compileOptions, weights: pipeline.weights });
  return {
    async encode(prompts) {
      const { truncated } = tokenize(pipeline, prompts);
      const rows: Record<string, Float32Array> = {};
      for (let start = 0; start < prompts.length; start += batch) {
        const part = prompts.slice(start, start + batch);
        // The last batch is filled up with its own first prompt.
        const full = [...part, ...new Array<string>(batch - part.length).fill(part[0]!)];
        const tokens = Object.fromEntries(tokenize(pipeline, full).ids.map((t, i) => [`ids_${i}`, t]));
        const results = await executable.run({ ...feeds, ...tokens });
        for (const [name, { data }] of Object.entries(results)) {
          const size = data.length / batch;
          rows[name] ??= new Float32Array(prompts.length * size);
          part.forEach((prompt, i) => {
            if (negative && prompt === '' && pipeline.zeroEmptyNegative) return;
            rows[name]!.set((data as Float32Array).subarray(i * size, (i + 1) * size), (start + i) * size);
          });
        }
      }
      const shaped = Object.entries(outputs).map(([name, { shape }]) => [name, host(rows[name]!, [prompts.length, ...shape.slice(1)])]);
      return { conditions: Object.fromEntries(shaped) as EncodedPrompts['conditions'], truncated };
    },
    release: () => executable.release(),
  };
}

/** Encodes a list of prompts once. */
export async function encodePrompts(pipeline: Pipeline, prompts: readonly string[], options: EncodeOptions = {}): Promise<EncodedPrompts> {
  const encoder = await openPromptEncoder(pipeline, prompts.length, options);
  return encoder.encode(prompts).finally(() => encoder.release());
}
