/** @file The program of a worker thread: opens sessions and runs them, as it is told by messages (session-threads.ts). */
import { parentPort } from 'node:worker_threads';
import type { TypedArray } from '../graph/dtype.js';
import { createSession, toDevice, toHost } from '../runtime/device.js';
import type { DeviceValue, Session } from '../runtime/device.js';
import { parcels } from './messages.js';
import type { Answer, Request } from './messages.js';

const port = parentPort!;
const arrays = new Map<number, TypedArray>();
const sessions = new Map<number, { readonly session: Session; readonly fixed: Readonly<Record<string, DeviceValue>> }>();

async function answer(request: Request): Promise<{ readonly answer: Answer; readonly buffers: ArrayBuffer[] }> {
  const done = { answer: { outputs: null }, buffers: [] };
  switch (request.kind) {
    case 'open': {
      for (const [id, array] of request.arrays) arrays.set(id, array);
      const fixed = request.fixed.map(({ name, dtype, shape, array }) => [name, toDevice({ dtype, shape, data: arrays.get(array)! as never })] as const);
      const session = await createSession(request.model, 'cpu', request.options);
      sessions.set(request.session, { session, fixed: Object.fromEntries(fixed) });
      return done;
    }
    case 'run': {
      const { session, fixed } = sessions.get(request.session)!;
      const results = await session.run({ ...fixed, ...Object.fromEntries([...request.feeds].map(([name, t]) => [name, toDevice(t)])) });
      const { tensors, buffers } = parcels(new Map(Object.entries(results).map(([name, value]) => [name, toHost(value, value.type as never)])));
      return { answer: { outputs: tensors }, buffers };
    }
    case 'release': {
      const known = sessions.get(request.session);
      sessions.delete(request.session);
      for (const id of request.arrays) arrays.delete(id);
      await known?.session.release();
      return done;
    }
    case 'end':
      port.close();
      return done;
  }
}

let last = Promise.resolve();
port.on('message', (request: Request) => {
  last = last.then(async () => {
    const reply = await answer(request).catch((error: unknown) => ({ answer: { error: error instanceof Error ? error.message : String(error) }, buffers: [] }));
    if (request.kind !== 'end') port.postMessage(reply.answer, reply.buffers);
  });
});
