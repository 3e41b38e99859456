/** @file Prompts as what conditions the network, each encoded once and then remembered. */
import { host } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { encodePrompts, sizesOf } from '../models/prompt.js';
import type { EncodedPrompts } from '../models/prompt.js';
import { isSdxl } from '../models/pipeline.js';
import type { Pipeline } from '../models/pipeline.js';
import type { CompileOptions, Feeds } from '../runtime/compile.js';

export interface Conditions {
  /** Encodes prompts ahead, many at once. Returns those that were too long, with what was cut. */
  prepare(prompts: readonly string[]): Promise<Map<string, string>>;
  /** Feeds `condition/…` and, with guidance, `negative/…` for a batch. */
  feeds(prompts: readonly string[], guided: boolean): Promise<Feeds>;
  release(): Promise<void>;
}

export interface ConditionOptions {
  negativePrompt: string;
  height: number;
  width: number;
  compile: Pick<CompileOptions, 'device' | 'threads'>;
}

type Rows = ReadonlyMap<string, Float32Array>; // by condition name

/** Splits encoded prompts into rows. */
function rowsOf(encoded: EncodedPrompts, count: number): Rows[] {
  const parts = Object.entries({ context: encoded.context, ...(encoded.pooled && { pooled: encoded.pooled }) });
  return Array.from({ length: count }, (_, i) => new Map(parts.map(([name, t]) => {
    const size = t.data.length / count;
    return [name, (t.data as Float32Array).slice(i * size, (i + 1) * size)];
  })));
}

export async function openConditions(pipeline: Pipeline, options: ConditionOptions): Promise<Conditions> {
  const known = new Map<string, Rows>();
  const shapes = new Map<string, readonly number[]>();
  const encode = async (prompts: readonly string[], negative: boolean): Promise<[Rows[], EncodedPrompts]> => {
    const encoded = await encodePrompts(pipeline, prompts, { ...options.compile, negative });
    shapes.set('context', encoded.context.shape.slice(1));
    if (encoded.pooled) shapes.set('pooled', encoded.pooled.shape.slice(1));
    return [rowsOf(encoded, prompts.length), encoded];
  };
  const [[none]] = (await encode([options.negativePrompt], true)) as [[Rows], EncodedPrompts];

  async function prepare(prompts: readonly string[]): Promise<Map<string, string>> {
    const fresh = [...new Set(prompts)].filter((p) => !known.has(p));
    const cut = new Map<string, string>();
    if (fresh.length === 0) return cut;
    const [rows, { truncated }] = await encode(fresh, false);
    fresh.forEach((prompt, i) => {
      known.set(prompt, rows[i]!);
      if (truncated[i] != null) cut.set(prompt, truncated[i]);
    });
    return cut;
  }

  const stacked = (name: string, rows: readonly Rows[]): HostTensor => {
    const shape = shapes.get(name)!;
    const size = shape.reduce((a, b) => a * b, 1);
    const data = new Float32Array(rows.length * size);
    rows.forEach((row, i) => data.set(row.get(name)!, i * size));
    return host(data, [rows.length, ...shape]);
  };

  return {
    prepare,
    async feeds(prompts, guided) {
      await prepare(prompts);
      const rows = prompts.map((p) => known.get(p)!);
      const all: Record<string, HostTensor> = {};
      for (const [prefix, list] of [['condition/', rows], ['negative/', guided ? rows.map(() => none) : null]] as const) {
        if (!list) continue;
        for (const name of shapes.keys()) all[prefix + name] = stacked(name, list);
        if (isSdxl(pipeline)) all[`${prefix}sizes`] = sizesOf(list.length, options.height, options.width);
      }
      return all;
    },
    release: async () => known.clear(),
  };
}
