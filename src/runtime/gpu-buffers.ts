/**
 * @file Numbers that stay on the GPU. Every such buffer is made here, by sessions that live as long as the process: ONNX
 * Runtime destroys the buffers of a session with it, and its device with the last session, whoever still uses them
 * (docs/upstream.md).
 */
import type { HostTensor } from '../graph/dtype.js';
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

const uploaders = new Map<string, Promise<Session>>();

/** The session that copies tensors of a dtype to the GPU; one serves all shapes of float32, which weights are. */
function uploader({ dtype, shape }: Pick<HostTensor, 'dtype' | 'shape'>): Promise<Session> {
  const key = dtype === 'float32' ? dtype : `${dtype}[${shape.join()}]`;
  const opening = uploaders.get(key) ?? createSession(
    exportOnnx({ outputs: { copy: input('value', shape, dtype) }, hideInputShapes: true }), 'webgpu',
    { preferredOutputLocation: 'gpu-buffer', logSeverityLevel: 4 },
  );
  uploaders.set(key, opening);
  opening.catch(() => uploaders.delete(key));
  return opening;
}

/** Opens the device for as long as the process lives. @throws DeviceError if there is none */
export const openGpu = async (): Promise<void> => void await uploader({ dtype: 'float32', shape: [1] });

let held = { buffers: 0, bytes: 0 };

/**
 * What lies in buffers now that nobody has disposed of.
 *
 * @public tests in processes of their own read it
 */
export const gpuBuffers = (): Readonly<typeof held> => held;

/** Copies numbers to the GPU, one tensor at a time: a run over many would keep twice their size (docs/decisions.md). */
export async function upload(value: HostTensor): Promise<GpuBuffer> {
  const results = await (await uploader(value)).run({ value: toDevice(value) }).catch((error: unknown) => {
    throw deviceFailure('webgpu', error);
  });
  const made = results['copy']!;
  const bytes = value.data.byteLength;
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
