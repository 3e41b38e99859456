/** @file Prompts as what conditions the network, each encoded once and remembered for a while. */
import { host } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { deferred } from '../host/resources.js';
import type { Execution, Feeds } from '../runtime/compile.js';
import { hasGuidanceInput } from './pipeline.js';
import type { Pipeline } from './pipeline.js';
import { encodePrompts, openPromptEncoder } from './prompt.js';
import type { EncodedPrompts, PromptEncoder } from './prompt.js';

/** Prefixes of the graph inputs, for `conditionInputs`. */
export const POSITIVE = 'condition/';
export const NEGATIVE = 'negative/';

/** Bytes of text states that are remembered: about 1,100 prompts of Stable Diffusion 1.5, 400 of SDXL. */
const MOST_REMEMBERED = 256 * 2 ** 20;

/** Prompts that are remembered whatever the model, and encoded in one go. */
export const TOGETHER = 256;

export interface ConditionSettings {
  /** null: the network is not called without the prompt. */
  readonly negativePrompt: string | null;
  readonly guidance: number;
  readonly height: number;
  readonly width: number;
  readonly compile: Execution;
  /** Bytes of text states that are remembered. Default 256 MiB. */
  readonly remembered?: number;
}

export interface Conditions {
  /**
   * Encodes those prompts that are not remembered, the first of them if there are more than will be, and lets the text
   * encoders go: for all that will be asked for, in the order in which it will be. No more of them are looked at.
   */
  prepare(prompts: Iterable<string>): Promise<void>;
  /** Feeds `condition/…` and, with a negative prompt, `negative/…` for a batch. Compiles the encoders for a prompt that was not prepared. */
  feeds(prompts: readonly string[]): Promise<Feeds>;
  release(): Promise<void>;
}

/** Whether the network is called a second time, without the prompt: above 1 only, as diffusers has it. */
export const isGuided = (pipeline: Pick<Pipeline, 'family' | 'denoiser' | 'textEncoders'>, guidance: number): boolean =>
  guidance > 1 && !hasGuidanceInput(pipeline);

/** What prompts became: tensors by name, [1, …] of one. */
type Row = Readonly<Record<string, HostTensor>>;

/** Encodes the negative prompt, and then every prompt when it is asked for. */
export async function openConditions(pipeline: Pipeline, settings: ConditionSettings): Promise<Conditions> {
  const { negativePrompt, guidance, compile, remembered = MOST_REMEMBERED } = settings;
  const none = negativePrompt === null ? null : rowsOf(await encodePrompts(pipeline, [negativePrompt], { ...compile, negative: true }), 1)[0]!;
  const known = new Map<string, Row>(); // the last used at the end
  let encoder: PromptEncoder | null = null;

  const room = (): number => {
    const [row] = known.values();
    const bytes = Object.values(row ?? {}).reduce((sum, { data }) => sum + data.byteLength, 0);
    return bytes === 0 ? 0 : Math.floor(remembered / bytes);
  };
  const close = async (): Promise<void> => {
    const open = encoder;
    encoder = null;
    await open?.release();
  };

  /** Makes the prompts the last used. */
  const remember = async (wanted: readonly string[]): Promise<void> => {
    const fresh = wanted.filter((prompt) => !known.has(prompt));
    if (fresh.length > 0) encoder ??= await openPromptEncoder(pipeline, fresh.length, compile);
    const rows = fresh.length > 0 ? rowsOf(await encoder!.encode(fresh), fresh.length) : [];
    const added = new Map(fresh.map((prompt, i) => [prompt, rows[i]!]));
    for (const prompt of wanted) {
      const row = added.get(prompt) ?? known.get(prompt)!;
      known.delete(prompt);
      known.set(prompt, row);
    }
    const most = Math.max(room(), wanted.length);
    for (const prompt of [...known.keys()].slice(0, Math.max(0, known.size - most))) known.delete(prompt);
  };

  const batchOf = (prefix: string, rows: readonly Row[]): Feeds => {
    const batch = rows.length;
    const values: Row = {
      ...Object.fromEntries(Object.keys(rows[0]!).map((name) => [name, joined(rows.map((row) => row[name]!))])),
      ...pipeline.family.conditions.settings(settings, batch),
      ...(hasGuidanceInput(pipeline) && { guidance: host(new Float32Array(batch).fill(guidance), [batch]) }),
    };
    return Object.fromEntries(Object.entries(values).map(([name, value]) => [prefix + name, value]));
  };

  return {
    async prepare(prompts) {
      const upcoming = distinct(prompts);
      await using _ = deferred(() => close());
      let count = 0;
      let most = TOGETHER; // how much room one takes is known after these
      for (let some = take(upcoming, most); some.length > 0; some = take(upcoming, Math.min(TOGETHER, most - count))) {
        await remember(some);
        count += some.length;
        most = room();
      }
    },
    release: close,
    async feeds(prompts) {
      await remember([...new Set(prompts)]);
      const positive = batchOf(POSITIVE, prompts.map((prompt) => known.get(prompt)!));
      return none ? { ...positive, ...batchOf(NEGATIVE, prompts.map(() => none)) } : positive;
    },
  };
}

function* distinct<T>(values: Iterable<T>): Generator<T> {
  const seen = new Set<T>();
  for (const value of values) {
    if (seen.has(value)) continue;
    seen.add(value);
    yield value;
  }
}

/** At most `count` more values; what was not asked for is not made. */
function take<T>(values: Iterator<T>, count: number): T[] {
  const taken: T[] = [];
  while (taken.length < count) {
    const { value, done } = values.next();
    if (done) break;
    taken.push(value);
  }
  return taken;
}

function rowsOf({ conditions }: EncodedPrompts, count: number): Row[] {
  const row = ({ data, shape }: HostTensor, i: number): HostTensor => {
    const size = data.length / count;
    return host((data as Float32Array).slice(i * size, (i + 1) * size), [1, ...shape.slice(1)]);
  };
  return Array.from({ length: count }, (_, i) =>
    Object.fromEntries(Object.entries(conditions).map(([name, values]) => [name, row(values, i)])));
}

/** Rows [1, …] as one tensor [N, …]. */
function joined(rows: readonly HostTensor[]): HostTensor {
  const size = rows[0]!.data.length;
  const data = new Float32Array(rows.length * size);
  rows.forEach((row, i) => data.set(row.data as Float32Array, i * size));
  return host(data, [rows.length, ...rows[0]!.shape.slice(1)]);
}
