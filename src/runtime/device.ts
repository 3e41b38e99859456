/** @file The one place that imports ONNX Runtime: devices, sessions and values. */
import * as ort from 'onnxruntime-node';
import type { DType, HostTensor } from '../graph/dtype.js';

export type Device = 'cpu' | 'webgpu' | 'cuda';
export type Session = ort.InferenceSession;
export type SessionOptions = ort.InferenceSession.SessionOptions;
export type DeviceValue = ort.Tensor;

/** A device that was asked for and cannot be used, with the remedy. */
export class DeviceError extends Error {
  override readonly name = 'DeviceError';
}

/** The devices that this build of ONNX Runtime has code for (a driver may still be missing). */
export function availableDevices(): Device[] {
  const names = ort.listSupportedBackends().map((b) => b.name);
  return (['cpu', 'webgpu', 'cuda'] as const).filter((d) => names.includes(d));
}

/** Opens a session on a device. @throws DeviceError if the device is missing. */
export async function createSession(model: Uint8Array, device: Device, options: SessionOptions): Promise<Session> {
  if (!availableDevices().includes(device)) {
    const remedy = device === 'cuda' ? 'reinstall onnxruntime-node with its CUDA libraries (Linux x64, CUDA 12)' : 'use --device cpu';
    throw new DeviceError(`This build of ONNX Runtime has no ${device} provider: ${remedy}.`);
  }
  try {
    return await ort.InferenceSession.create(model, { ...options, executionProviders: [device] });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    if (device !== 'cpu') throw new DeviceError(`Cannot open a session on ${device}: ${reason}. Use --device cpu.`);
    throw error;
  }
}

/** Hands host numbers to ONNX Runtime without copying them. */
export function toDevice(value: HostTensor): ort.Tensor {
  return new ort.Tensor(value.dtype as ort.Tensor.Type, value.data as never, [...value.shape]);
}

/** The numbers of a result that lies on the host. */
export function toHost(value: ort.Tensor, dtype: DType): HostTensor {
  return { dtype, shape: value.dims, data: value.data as HostTensor['data'] };
}
