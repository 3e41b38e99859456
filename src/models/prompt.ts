/** @file Prompts → what conditions the denoiser, as the pipelines of diffusers encode them. */
import { host } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { concat } from '../graph/ops/layout.js';
import { input } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import { frozenWeights } from '../nn/scope.js';
import type { Adapter, WeightSource } from '../nn/scope.js';
import { compile } from '../runtime/compile.js';
import type { CompileOptions, Feeds } from '../runtime/compile.js';
import { clipText, finalNorm, textProjection } from './clip-text.js';
import { isSdxl, partScope } from './pipeline.js';
import type { Pipeline } from './pipeline.js';

/**
 * The text states of token ids, in a graph. `clipSkip` more of the last layers are left out, as in diffusers. SD 1.x and 2.x take the last state after the final norm (SD 2.x encoders
 * come without their last layer); SDXL joins the last states but one of both encoders, and the second one's projection.
 *
 * @param ids for each text encoder [B, N], int64
 * @returns context [B, N, D] and, for SDXL, pooled [B, P]
 */
export function encodeText(
  pipeline: Pipeline, ids: readonly Tensor[], source: WeightSource, adapters: readonly Adapter[] = [], clipSkip?: number,
): { context: Tensor; pooled?: Tensor } {
  const encoded = pipeline.textEncoders.map((encoder, i) => {
    const scope = partScope(encoder.name, source, adapters);
    return { encoder, scope, states: clipText(scope, encoder.config, ids[i]!) };
  });
  if (!isSdxl(pipeline)) {
    const { encoder: { config }, scope, states } = encoded[0]!;
    return { context: clipSkip === undefined ? states.last : finalNorm(scope, config, states.hidden.at(-1 - clipSkip)!) };
  }
  const { encoder, scope, states } = encoded.at(-1)!;
  return {
    context: concat(encoded.map((e) => e.states.hidden.at(-2 - (clipSkip ?? 0))!), 2),
    pooled: textProjection(scope, encoder.config, states.pooled),
  };
}

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
  /** Text states [N, T, D]. */
  context: HostTensor;
  /** SDXL [N, P]. */
  pooled?: HostTensor;
  /** What of each prompt did not fit, to warn about. */
  truncated: (string | null)[];
}

export interface EncodeOptions extends Omit<CompileOptions, 'weights'> {
  adapters?: readonly Adapter[];
  /** Numbers of the adapters' inputs. */
  feeds?: Feeds;
  /** Whether these are negative prompts, of which SDXL base takes the empty one as zeros. */
  negative?: boolean;
}

/** Prompts that run through the encoder together at most. */
const BATCH = 8;

export interface PromptEncoder {
  /** Encodes a list of prompts, in its order. */
  encode(prompts: readonly string[]): Promise<EncodedPrompts>;
  release(): Promise<void>;
}

/** Compiles the text encoders for lists of about `count` prompts. */
export async function openPromptEncoder(pipeline: Pipeline, count: number, options: EncodeOptions = {}): Promise<PromptEncoder> {
  const { adapters = [], feeds = {}, negative = false, ...compileOptions } = options;
  const batch = Math.min(BATCH, count);
  const lengths = pipeline.textEncoders.map((e) => e.tokenizer.maxLength);
  const ids = lengths.map((n, i) => input(`ids_${i}`, [batch, n], 'int64'));
  const outputs: Record<string, Tensor> = encodeText(
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
      const shaped = (name: string): HostTensor => host(rows[name]!, [prompts.length, ...outputs[name]!.shape.slice(1)]);
      return { context: shaped('context'), ...(outputs['pooled'] && { pooled: shaped('pooled') }), truncated };
    },
    release: () => executable.release(),
  };
}

/** Encodes a list of prompts once. */
export async function encodePrompts(pipeline: Pipeline, prompts: readonly string[], options: EncodeOptions = {}): Promise<EncodedPrompts> {
  const encoder = await openPromptEncoder(pipeline, prompts.length, options);
  return encoder.encode(prompts).finally(() => encoder.release());
}

/** SDXL's picture sizes for images made whole at this size: [N, 6]. */
export function sizesOf(count: number, height: number, width: number): HostTensor {
  const row = [height, width, 0, 0, height, width];
  return host(Float32Array.from({ length: count * 6 }, (_, i) => row[i % 6]!), [count, 6]);
}
