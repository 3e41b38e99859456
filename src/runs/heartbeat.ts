/**
 * @file A sign of life that numeric work cannot block: a thread of its own touches the lock file every ten seconds.
 *
 * ONNX Runtime runs networks on the thread that calls it, for up to minutes a call, so a timer there would be late when it
 * is most wanted. On the machine (and in the container) of the run nobody needs it: the process that the lock names
 * lives or does not. From elsewhere processes cannot be seen, and the lock's time is all there is.
 */
import { Worker } from 'node:worker_threads';

const INTERVAL = 10_000;
/** Milliseconds after which a lock that nobody touches is silent: twelve times missed, network drives' caches included. */
export const SILENCE = 120_000;

const BEAT = `
const { readFileSync, utimesSync } = require('node:fs');
const { file, content, interval } = require('node:worker_threads').workerData;
setInterval(() => {
  try {
    const now = new Date();
    if (readFileSync(file, 'utf8') === content) utimesSync(file, now, now); // not if it is another's by now
  } catch {} // the folder is gone, or its drive
}, interval);
`;

/** Touches `file` as long as it holds `content`, until released or the process ends. */
export function startHeartbeat(file: string, content: string, interval = INTERVAL): { release(): Promise<void> } {
  const worker = new Worker(BEAT, {
    eval: true, workerData: { file, content, interval }, env: {}, execArgv: [], stdout: true, stderr: true,
    resourceLimits: { maxOldGenerationSizeMb: 8, maxYoungGenerationSizeMb: 1, stackSizeMb: 1 },
  });
  worker.on('error', () => {}); // without it the run goes on: on its own machine nobody needs it
  worker.unref();
  return { release: async () => void (await worker.terminate()) };
}
