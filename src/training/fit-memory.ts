/** @file A training that fits into memory: what the settings leave open is chosen, and what cannot fit is refused with what to change. */
import { ConfigError } from '../formats/errors.js';
import type { HostTensor, StoredType } from '../graph/dtype.js';
import type { Pipeline } from '../models/pipeline.js';
import { PRECISIONS } from '../nn/precision.js';
import type { PrecisionName } from '../nn/precision.js';
import type { Forecast } from './forecast.js';
import { gib } from './memory-size.js';

/** What of the memory a forecast may fill: it is right within a tenth (docs/decisions.md). */
const SHARE = 0.9;

/** As `microbatch` allows (config.ts). */
const MOST_TOGETHER = 4096;

/** What decides how much memory a training takes. */
export interface Levers {
  readonly microbatch: number;
  readonly checkpointing: boolean;
  readonly precision: PrecisionName;
  /** Pixels of a side. */
  readonly size: number;
  /** Of the LoRA; null for full fine-tuning. */
  readonly rank: number | null;
}

/** Bytes that the run may take on its device, and where that is known from. */
export interface Room {
  readonly bytes: number;
  readonly source: string;
}

export interface Wish {
  readonly batch: number;
  /** Undefined where it is to be chosen. */
  readonly microbatch: number | undefined;
  readonly checkpointing: boolean | undefined;
}

export interface Fitted {
  readonly levers: Levers;
  readonly forecast: Forecast;
}

const neededBy = ({ host, device }: Forecast): number => device ?? host;

/** The model as another precision would have it in memory; for forecasts only: its arrays are empty. */
export function inPrecision(pipeline: Pipeline, name: PrecisionName): Pipeline {
  const precision = PRECISIONS[name];
  const stored = ({ shape }: HostTensor): StoredType => (shape.length < 2 ? 'float32' : precision.storage);
  const weights = new Map([...pipeline.weights].map(([key, t]): [string, HostTensor] =>
    [key, stored(t) === t.dtype ? t : { shape: t.shape, dtype: stored(t), data: stored(t) === 'float32' ? new Float32Array(0) : new Uint16Array(0) }]));
  return { ...pipeline, precision, weights };
}

/** The largest of ascending values whose forecast fits, found by halving; null if not even the smallest does. */
async function largest(values: readonly number[], fits: (value: number) => Promise<boolean>): Promise<number | null> {
  if (await fits(values.at(-1)!)) return values.at(-1)!;
  let [low, high] = [-1, values.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (await fits(values[middle]!)) low = middle;
    else high = middle;
  }
  return low < 0 ? null : values[low]!;
}

/**
 * Chooses the microbatch, and checkpointing only where no microbatch fits without.
 *
 * @param start the settings, where they leave nothing open
 * @param at the forecast of other settings
 * @throws ConfigError if the forecast is larger than the room whatever is chosen, with what to change and how much that saves
 */
export async function fitMemory(wish: Wish, start: Levers, at: (levers: Levers) => Promise<Forecast>, room: Room): Promise<Fitted> {
  const known = new Map<string, Promise<Forecast>>();
  const forecastOf = (levers: Levers): Promise<Forecast> => {
    const key = JSON.stringify(levers);
    const made = known.get(key) ?? at(levers);
    known.set(key, made);
    return made;
  };
  const sizes = wish.microbatch === undefined ? divisorsOf(wish.batch) : [wish.microbatch];
  const ways = wish.checkpointing === undefined ? [false, true] : [wish.checkpointing];
  for (const checkpointing of ways) {
    const microbatch = await largest(sizes, async (size) => neededBy(await forecastOf({ ...start, microbatch: size, checkpointing })) <= SHARE * room.bytes);
    if (microbatch === null) continue;
    const levers = { ...start, microbatch, checkpointing };
    return { levers, forecast: await forecastOf(levers) };
  }
  const least = { ...start, microbatch: sizes[0]!, checkpointing: ways.at(-1)! };
  const forecast = await forecastOf(least);
  if (neededBy(forecast) <= room.bytes) return { levers: least, forecast };
  throw new ConfigError(await refusal(least, neededBy(forecast), room, async (levers) => neededBy(await forecastOf(levers))));
}

async function refusal(least: Levers, needed: number, room: Room, at: (levers: Levers) => Promise<number>): Promise<string> {
  const { microbatch, checkpointing, precision, size, rank } = least;
  const changes: readonly (readonly [text: string, change: Partial<Levers>])[] = [
    ...(microbatch > 1 ? [['microbatch: 1', { microbatch: 1 }] as const] : []),
    ...(checkpointing ? [] : [['checkpointing: true', { checkpointing: true }] as const]),
    ...(precision === 'float32' ? [['precision: mixed', { precision: 'mixed' }] as const] : []),
    ...(size % 128 === 0 ? [[`size: ${size / 2}`, { size: size / 2 }] as const] : []),
    ...(rank !== null && rank > 4 ? [['lora.rank: 4', { rank: 4 }] as const] : []),
  ];
  const told: string[] = [];
  for (const [text, change] of changes) {
    const then = await at({ ...least, ...change });
    if (then < needed) told.push(`${text} ${gib(then)}${then <= room.bytes ? ', which fits' : ''}`);
  }
  if (!told.some((line) => line.endsWith('fits')) && told.length > 1) {
    const then = await at(changes.reduce((levers, [, change]) => ({ ...levers, ...change }), least));
    told.push(`all of these ${gib(then)}${then <= room.bytes ? ', which fits' : ''}`);
  }
  return `this training needs ${gib(needed)}, and ${gib(room.bytes)} is there (${room.source}). `
    + (told.length > 0 ? `What it would need with other settings: ${told.join('; ')}` : 'Take a smaller model, or a machine with more memory');
}

function divisorsOf(batch: number): number[] {
  return Array.from({ length: batch }, (_, i) => i + 1).filter((n) => batch % n === 0 && n <= MOST_TOGETHER);
}

/** A forecast in a line. */
export function tellForecast({ levers, forecast }: Fitted, batch: number, room: Room | null): string {
  const { host, device, weights, optimizer } = forecast;
  const most = [...forecast.graphs].toSorted(([, a], [, b]) => b.values - a.values)[0];
  const where = device === null ? `${gib(host)} of memory` : `${gib(device)} on the device and ${gib(host)} of memory`;
  return `needs about ${where}: weights ${gib(weights)}, optimiser ${gib(optimizer)}, largest graph ${gib(most?.[1].values ?? 0)} (${most?.[0] ?? 'none'}); `
    + `${levers.microbatch === batch ? 'all' : levers.microbatch} of ${batch} images at a time${levers.checkpointing ? ', checkpointed' : ''}`
    + `${room ? `; there are ${gib(room.bytes)} (${room.source})` : '; how much there is nobody tells'}`;
}
