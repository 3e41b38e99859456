/** @file Sessions elsewhere: what `compile` needs of whoever opens them beside the program, so that several runs go on at once. */
import type { HostTensor } from '../graph/dtype.js';
import { toDevice, toHost } from './device.js';
import type { DeviceValue, Session, SessionOptions } from './device.js';

/** A session that is open in every worker; a run is made by whichever is free. */
export interface PooledSession {
  /** Runs may be asked for while others go on. @throws Error with ONNX Runtime's reason, or if the worker has ended */
  run(feeds: ReadonlyMap<string, HostTensor>): Promise<ReadonlyMap<string, HostTensor>>;
  release(): Promise<void>;
}

export interface SessionPool {
  /** Runs that go on at once. */
  readonly workers: number;
  /**
   * Opens a session on the CPU of every worker.
   *
   * @param fixed what every run is fed: given once, and kept once by each worker whatever sessions read it
   */
  open(model: Uint8Array, options: SessionOptions, fixed: ReadonlyMap<string, HostTensor>): Promise<PooledSession>;
}

/** A session, wherever it is. */
export type RunningSession = Pick<Session, 'run' | 'release' | 'endProfiling'>;

const onHost = (value: DeviceValue): HostTensor => toHost(value, value.type as HostTensor['dtype']);

/** A session of a pool, to be used as one of this program's; `fixed` need not be fed. */
export async function openPooled(
  pool: SessionPool, model: Uint8Array, options: SessionOptions, fixed: ReadonlyMap<string, DeviceValue>,
): Promise<RunningSession> {
  const session = await pool.open(model, options, new Map([...fixed].map(([name, value]) => [name, onHost(value)])));
  return {
    async run(feeds) {
      const outputs = await session.run(new Map(Object.entries(feeds).map(([name, value]) => [name, onHost(value as DeviceValue)])));
      return Object.fromEntries([...outputs].map(([name, t]) => [name, toDevice(t)]));
    },
    release: () => session.release(),
    endProfiling() {
      throw new Error('sessions of a pool are not profiled');
    },
  };
}
