/**
 * @file Worker threads that open and run sessions, so that several cuts of a round are computed at once. ONNX Runtime blocks
 * the thread that calls it and takes no shared memory from JavaScript (docs/decisions.md), so each thread holds the frozen
 * weights itself. Whichever thread is free makes a run: equal sessions on equal processors give equal bits.
 */
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { HostTensor, TypedArray } from '../graph/dtype.js';
import { packageRoot } from '../formats/package-root.js';
import type { SessionPool } from '../runtime/session-pool.js';
import { parcels } from './messages.js';
import type { Answer, Request } from './messages.js';

interface Thread {
  /** Requests that are not answered yet. */
  waiting: number;
  ask(request: Request, buffers: readonly ArrayBuffer[]): Promise<Answer & { outputs: unknown }>;
  release(): Promise<void>;
}

function startThread(index: number): Thread {
  // Also where the sources run uncompiled, as in tests.
  const worker = new Worker(join(packageRoot, 'dist', 'workers', 'session-thread.js'), { execArgv: [] });
  const asked: { done(answer: Answer & { outputs: unknown }): void; fail(error: Error): void }[] = [];
  let ended: Error | null = null;
  const end = (error: Error): void => {
    ended ??= error;
    for (const { fail } of asked.splice(0)) fail(ended);
  };
  worker.on('message', (answer: Answer) => {
    const { done, fail } = asked.shift()!;
    if ('error' in answer) fail(new Error(answer.error));
    else done(answer);
  });
  worker.on('error', (error) => end(new Error(`worker ${index + 1} ended with: ${error.message}`, { cause: error })));
  worker.on('exit', (code) => end(new Error(`worker ${index + 1} ended with code ${code}`)));
  return {
    get waiting() {
      return asked.length;
    },
    ask: (request, buffers) => new Promise((done, fail) => {
      if (ended) return void fail(ended);
      asked.push({ done, fail });
      worker.postMessage(request, buffers as ArrayBuffer[]);
    }),
    async release() {
      if (ended) return;
      const gone = new Promise((done) => worker.once('exit', done));
      worker.postMessage({ kind: 'end' } satisfies Request);
      await gone;
    },
  };
}

/** How many sessions of all threads read an array. */
interface Stored {
  readonly id: number;
  users: number;
}

/**
 * Starts the threads.
 *
 * @param workers how many
 */
export function openSessionThreads(workers: number): SessionPool & { release(): Promise<void> } {
  const threads = Array.from({ length: workers }, (_, i) => startThread(i));
  const stored = new Map<TypedArray, Stored>();
  let [arrays, sessions] = [0, 0];

  /** The same request to every thread, answered by all before this is over, whatever becomes of one. */
  async function askAll(make: () => { request: Request; buffers: readonly ArrayBuffer[] }): Promise<void> {
    const answers = await Promise.allSettled(threads.map((thread) => {
      const { request, buffers } = make();
      return thread.ask(request, buffers);
    }));
    for (const answer of answers) if (answer.status === 'rejected') throw answer.reason;
  }

  return {
    workers,
    async open(model, options, fixed) {
      const session = sessions++;
      const data = new Set([...fixed.values()].map((t) => t.data as TypedArray));
      const fresh = [...data].filter((array) => !stored.has(array));
      for (const array of data) {
        const known = stored.get(array) ?? { id: arrays++, users: 0 };
        known.users += 1;
        stored.set(array, known);
      }
      const inputs = [...fixed].map(([name, { dtype, shape, data: array }]) => ({ name, dtype, shape, array: stored.get(array as TypedArray)!.id }));
      let open = true;
      const release = async (): Promise<void> => {
        if (!open) return;
        open = false;
        const idle: number[] = [];
        for (const array of data) {
          const known = stored.get(array)!;
          known.users -= 1;
          if (known.users > 0) continue;
          stored.delete(array);
          idle.push(known.id);
        }
        await askAll(() => ({ request: { kind: 'release', session, arrays: idle }, buffers: [] }));
      };
      try {
        await askAll(() => {
          const own = fresh.map((array): [number, TypedArray] => [stored.get(array)!.id, array.slice()]);
          return { request: { kind: 'open', session, model, options, fixed: inputs, arrays: own }, buffers: own.map(([, array]) => array.buffer as ArrayBuffer) };
        });
      } catch (error) {
        await release().catch(() => {}); // the first error is the one to tell
        throw error;
      }
      return {
        async run(feeds) {
          const thread = threads.reduce((free, other) => (other.waiting < free.waiting ? other : free));
          const { tensors, buffers } = parcels(feeds);
          const { outputs } = await thread.ask({ kind: 'run', session, feeds: tensors }, buffers);
          return outputs as ReadonlyMap<string, HostTensor>;
        },
        release,
      };
    },
    async release() {
      await Promise.all(threads.map((thread) => thread.release()));
    },
  };
}
