/** @file The memory of a session: how much there is, what is chosen to fit into it, and the forecast. */
import { deviceMemory } from '../machine/machine-memory.js';
import type { RunConfig } from './config.js';
import { fitMemory, tellForecast } from './fit-memory.js';
import type { Fitted, Levers, Room } from './fit-memory.js';
import type { Forecast } from './forecast.js';
import { gib, parseSize } from './memory-size.js';

export interface SessionMemory {
  readonly levers: Levers;
  readonly room: Room | null;
  /** What the run will take; traced when it is first asked for, unless the choice needed it. */
  fitted(): Promise<Fitted>;
  /** The forecast in a line; a bound where there is so much that none was needed. */
  tell(): Promise<string>;
}

/** Where even this many bytes for each pixel of a batch are half of what is there, everything fits, and nothing need be foretold. */
const MOST_BYTES_A_PIXEL = 128 * 1024;

/** What the run may take where it computes; null if nobody tells. */
function roomOf({ memory, device }: RunConfig): Room | null {
  if (memory !== undefined) return { bytes: parseSize(memory)!, source: `--memory ${memory}` };
  const bytes = deviceMemory(device);
  return bytes === null ? null : { bytes, source: device === 'cpu' ? 'this machine' : `the memory of ${device}` };
}

/**
 * Chooses what the configuration leaves open. Small images in a large memory are not foretold for that: it takes seconds.
 *
 * @throws ConfigError as `fitMemory`
 */
export async function sessionMemory(config: RunConfig & Pick<Levers, 'precision'>, size: number, at: (levers: Levers) => Promise<Forecast>): Promise<SessionMemory> {
  const { batch, microbatch, checkpointing, precision } = config;
  const wish = { batch, microbatch, checkpointing };
  const start: Levers = { microbatch: microbatch ?? batch, checkpointing: checkpointing ?? false, precision, size, rank: config.train === 'lora' ? config.lora.rank : null };
  const room = roomOf(config);
  const plenty = config.memory === undefined && room !== null && (start.microbatch * size * size * MOST_BYTES_A_PIXEL <= room.bytes / 2);
  if (plenty && room) {
    const bound = `needs less than ${gib(start.microbatch * size * size * MOST_BYTES_A_PIXEL)} of memory for its images (attune plan foretells it); there are ${gib(room.bytes)} (${room.source})`;
    return { levers: start, room, fitted: once(async () => ({ levers: start, forecast: await at(start) })), tell: async () => bound };
  }
  const fitted = room ? await fitMemory(wish, start, at, room) : null;
  const known = once(async () => fitted ?? { levers: start, forecast: await at(start) });
  return { levers: start, room, ...(fitted && { levers: fitted.levers }), fitted: known, tell: async () => tellForecast(await known(), batch, room) };
}

/** Made when it is first asked for. */
function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | null = null;
  return () => (made ??= make());
}
