/**
 * @file Numbers that stay on the GPU. Every such buffer is made here, by sessions that live as long as the process: ONNX
 * Runtime destroys the buffers of a session with it, and its device with the last session, whoever still uses them
 * (docs/upstream.md).
 */
import type { DType, HostTensor } from '../graph/dtype.js';
import { exportOnnx } from '../graph/onnx/export.js';
import { input } from '../graph/tensor.js';
import { deviceFailure } from './device-failure.js';
import { createSession, toDevice } from './device.js';
import type { DeviceValue, Session } from './device.js';

/** A buffer on the GPU, owned by whoever had it made. */
export interface GpuBuffer {
  /** To be fed to any session of this process; dead after `dispose`. */
  readonly value: DeviceValue;
  readonly bytes: number;
  /** Frees it, once. */
  dispose(): void;
}

const uploaders = new Map<DType, Promise<Session>>();

/** The session that copies tensors of a dtype to the GPU, of any shape. */
function uploader(dtype: DType): Promise<Session> {
  const opening = uploaders.get(dtype) ?? createSession(
    exportOnnx({ outputs: { copy: input('value', [1], dtype) }, hideInputShapes: 'all' }), 'webgpu',
    { preferredOutputLocation: 'gpu-buffer', logSeverityLevel: 4 },
  );
  uploaders.set(dtype, opening);
  opening.catch(() => uploaders.delete(dtype));
  return opening;
}

/** Opens the device for as long as the process lives. @throws DeviceError if there is none */
export const openGpu = async (): Promise<void> => void await uploader('float32');

let held = { buffers: 0, bytes: 0 };

/**
 * What lies in buffers now that nobody has disposed of.
 *
 * @public tests in processes of their own read it
 */
export const gpuBuffers = (): Readonly<typeof held> => held;

/** What crossed between host and device since the process began, and runs there. */
export interface Traffic {
  readonly up: number;
  readonly down: number;
  readonly runs: number;
}

let crossed: Traffic = { up: 0, down: 0, runs: 0 };

export const traffic = (): Traffic => crossed;

/** Takes note of bytes that cross: weights and copies here, feeds and results where sessions run. */
export function countTraffic(up: number, down: number, runs = 1): void {
  crossed = { up: crossed.up + up, down: crossed.down + down, runs: crossed.runs + runs };
}

/** Copies numbers to the GPU, one tensor at a time: a run over many would keep twice their size (docs/decisions.md). */
export async function upload(value: HostTensor): Promise<GpuBuffer> {
  const results = await (await uploader(value.dtype)).run({ value: toDevice(value) }).catch((error: unknown) => {
    throw deviceFailure('webgpu', error);
  });
  const made = results['copy']!;
  const bytes = value.data.byteLength;
  countTraffic(bytes, 0, 0);
  held = { buffers: held.buffers + 1, bytes: held.bytes + bytes };
  let disposed = false;
  return {
    value: made,
    bytes,
    dispose() {
      if (disposed) return;
      disposed = true;
      held = { buffers: held.buffers - 1, bytes: held.bytes - bytes };
      made.dispose();
    },
  };
}
