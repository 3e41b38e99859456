/** @file How many items a compiled graph holds at once, where the configuration leaves it open. */
import { totalmem } from 'node:os';

/** Share of the memory that graphs may fill; the rest is for weights, what is kept of them, and the system. */
const SHARE = 0.5;

/** Bytes of this machine, or those that this process is confined to. The same at every start: a run must not depend on what else runs. */
function memoryBytes(): number {
  const most = totalmem();
  const confined = process.constrainedMemory?.() ?? 0;
  return confined > 0 && confined < most ? confined : most;
}

/** The largest divisor of the batch whose items fit; 1 if not even two do. */
export function largestThatFits(batch: number, bytesPerItem: number, memory = memoryBytes()): number {
  const room = Math.max(1, Math.floor((memory * SHARE) / bytesPerItem));
  let size = Math.min(batch, room);
  while (batch % size !== 0) size -= 1;
  return size;
}
