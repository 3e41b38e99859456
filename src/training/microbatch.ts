/** @file How many items a compiled graph holds at once, where the configuration leaves it open. */
import { totalmem } from 'node:os';

/** Share of the memory that graphs may fill; the rest is for weights, what is kept of them, and the system. */
const SHARE = 0.5;

/** More than any network here takes for a pixel of an image, there and back: where even this fits, nothing need be estimated. */
const MOST_BYTES_A_PIXEL = 128 * 1024;

/** Bytes of this machine, or those that this process is confined to: the same at each start, whatever else runs. */
function memoryBytes(): number {
  const most = totalmem();
  const confined = process.constrainedMemory?.() ?? 0;
  return confined > 0 && confined < most ? confined : most;
}

/**
 * The largest divisor of the batch whose items fit into memory together; 1 if not even two do.
 *
 * @param pixels of an image
 * @param estimate bytes that an update needs for each item held at once; asked for if it matters
 */
export function defaultMicrobatch(batch: number, pixels: number, estimate: () => number, memory = memoryBytes()): number {
  const room = memory * SHARE;
  if (batch * pixels * MOST_BYTES_A_PIXEL <= room) return batch;
  let size = Math.min(batch, Math.max(1, Math.floor(room / estimate())));
  while (batch % size !== 0) size -= 1;
  return size;
}
