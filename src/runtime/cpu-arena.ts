/**
 * @file How much memory ONNX Runtime's arena on the CPU takes for what a graph allocates and frees. It gives blocks out
 * of regions that double, splits a free block only where half of it would be left, and keeps all it ever took; what it
 * took and nobody wrote to is not resident.
 */
import type { MemoryStep, PlannedBuffer } from './buffer-plan.js';

interface Region {
  readonly id: number;
  /** Bytes from its start that were ever given out. */
  high: number;
}

interface Block {
  readonly region: Region;
  readonly at: number;
  size: number;
  before: Block | null;
  after: Block | null;
  free: boolean;
}

const ALIGNMENT = 256;
const FIRST_REGION = 2 ** 20;
/** A rest of this size is always split off. */
const MOST_WASTED = 128 * 2 ** 20;

/** Bytes resident once the steps have run. */
export function cpuArenaBytes(steps: readonly MemoryStep[]): number {
  const regions: Region[] = [];
  const free = new Set<Block>();
  let next = FIRST_REGION;

  const extend = (bytes: number): Block => {
    let doubled = false;
    for (; bytes > next; next *= 2) doubled = true;
    const region = { id: regions.length, high: 0 };
    regions.push(region);
    const block: Block = { region, at: 0, size: next, before: null, after: null, free: true };
    if (!doubled) next *= 2;
    return block;
  };
  const earlier = (a: Block, b: Block): boolean => a.size < b.size || (a.size === b.size && (a.region.id < b.region.id || (a.region === b.region && a.at < b.at)));

  const take = (wanted: number): Block => {
    const bytes = Math.max(1, Math.ceil(wanted / ALIGNMENT)) * ALIGNMENT;
    let block: Block | null = null;
    for (const one of free) if (one.size >= bytes && (!block || earlier(one, block))) block = one;
    block ??= extend(bytes);
    free.delete(block);
    block.free = false;
    if (block.size >= 2 * bytes || block.size - bytes >= MOST_WASTED) {
      const rest: Block = { region: block.region, at: block.at + bytes, size: block.size - bytes, before: block, after: block.after, free: true };
      if (rest.after) rest.after.before = rest;
      block.after = rest;
      block.size = bytes;
      free.add(rest);
    }
    block.region.high = Math.max(block.region.high, block.at + bytes);
    return block;
  };
  /** Joins a free block with the free one behind it. */
  const join = (block: Block): void => {
    const rest = block.after!;
    free.delete(rest);
    block.size += rest.size;
    block.after = rest.after;
    if (block.after) block.after.before = block;
  };
  const give = (block: Block): void => {
    block.free = true;
    free.add(block);
    if (block.after?.free) join(block);
    if (block.before?.free) join(block.before);
  };

  const blocks = new Map<PlannedBuffer, Block>();
  for (const { makes, frees } of steps) {
    for (const buffer of makes) blocks.set(buffer, take(buffer.bytes));
    for (const buffer of frees) give(blocks.get(buffer)!);
  }
  return regions.reduce((sum, { high }) => sum + high, 0);
}
