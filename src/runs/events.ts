/**
 * @file The events of a run: a line of JSON each in `events.jsonl`, which is only ever appended to. All that is told of a
 * run (terminal, metrics, TensorBoard, report, comparison, `attune runs`) is made of them.
 */
import { z } from 'zod';
import { problemOf } from '../formats/plain-issues.js';
import { rowSchema } from './rows.js';

/** Raised when a reader of before would misread what is written now; new types and fields alone do not. */
export const LOG_VERSION = 1;

const step = z.number();
/** Milliseconds since 1970, by the clock of the machine that the run is on. */
const time = z.number();

const eventSchema = z.discriminatedUnion('type', [
  /** A process has taken the run up: a new one, or one that goes on. */
  z.object({
    type: z.literal('opened'), time, version: z.int(),
    /** Nonce of the process's lock. */
    session: z.string(),
    resumed: z.boolean(), attune: z.string(), host: z.string(), pid: z.number(),
    /** Of what the run computes with, what is another one from now on. */
    changes: z.record(z.string(), z.string()).optional(),
  }),
  /** It goes on from the checkpoint of this step: whatever was logged of later ones is void. −1: from its beginning. */
  z.object({ type: z.literal('resumed'), time, step }),
  z.object({ type: z.literal('phase'), time, text: z.string() }),
  /** Within a phase: so much of it is done. */
  z.object({ type: z.literal('heartbeat'), time, done: z.number(), total: z.number(), detail: z.string(), bytes: z.number() }),
  /** An update of the weights. */
  z.object({
    type: z.literal('step'), time,
    /** Its identity: the number of its round, and its own among the updates of that round. Earlier versions did not tell. */
    round: z.int().optional(), update: z.int().optional(),
    row: rowSchema, evaluationFollows: z.literal(true).optional(),
  }),
  z.object({
    type: z.literal('evaluation'), time, row: rowSchema,
    /** Step of the best evaluation so far, by the guard's rule. */
    best: step.optional(),
    /** The guard's word: why the run should stop here; it does unless the guard is not enabled. */
    stop: z.string().optional(),
  }),
  /** An evaluation picture was saved. */
  z.object({
    type: z.literal('image'), time, step,
    /** Of the LoRA; step 0 is the base model whatever it is. */
    strength: z.number(),
    /** Its place in the evaluation. */
    index: z.int(), prompt: z.string(),
    /** Of its noise, as `attune sample --seed` counts; not there if it is one of several that were tried. */
    seed: z.number().optional(),
    /** Below the run's folder, with slashes. */
    file: z.string().regex(/^samples\/(?!.*\.\.)[\w.+/-]+\.png$/),
  }),
  z.object({ type: z.literal('checkpoint'), time, step, path: z.string() }),
  /** The weights as they were then, below `saved/`, because somebody asked for it; no checkpoint, and never removed. */
  z.object({ type: z.literal('saved'), time, step, path: z.string() }),
  z.object({ type: z.literal('warning'), time, text: z.string() }),
  /** The process lets go of the run. After a crash there is none. */
  z.object({
    type: z.literal('ended'), time, how: z.enum(['finished', 'guard', 'interrupted', 'error']),
    /** The guard's, or the error's. */
    reason: z.string().optional(),
  }),
]);

export type RunEvent = Readonly<z.infer<typeof eventSchema>>;
export type EventOf<T extends RunEvent['type']> = Extract<RunEvent, { type: T }>;

/** An event that happens now. */
export type NewEvent = { [T in RunEvent['type']]: Omit<EventOf<T>, 'time'> }[RunEvent['type']];

/** Whoever is told of a run's events, in their order. */
export type Listener = (event: RunEvent) => void | Promise<void>;

const TYPES = new Set<unknown>(eventSchema.options.map((o) => o.shape.type.value));

/** A line of the log. Its type comes first: readers that skim look no further. */
export const eventText = ({ type, time: at, ...rest }: RunEvent): string => `${JSON.stringify({ type, time: at, ...rest })}\n`;

/** The event of a line; null for a type that only later versions know. @returns what is wrong with it, in words, if it is no event */
export function parseEvent(line: string): RunEvent | string | null {
  let value: unknown;
  try {
    // A number that is not finite is null in JSON; it is none.
    value = line.includes('null') ? JSON.parse(line, (_, v: unknown) => (v === null ? undefined : v)) : JSON.parse(line);
  } catch {
    return 'is not JSON';
  }
  const parsed = eventSchema.safeParse(value);
  if (parsed.success) return value as RunEvent; // a row's keys in their order
  const { type } = (value ?? {}) as { type?: unknown };
  if (typeof type === 'string' && !TYPES.has(type)) return null;
  const { path, text } = problemOf(parsed.error, value);
  return `is no event of a run: ${path || 'the line'}: ${text}`;
}
