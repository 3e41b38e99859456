/**
 * @file The one place that imports ONNX Runtime: devices, sessions and values. Bundlers for browsers put onnxruntime-web in
 * its place (package.json, `browser`), which has another name for the CPU and no list of devices.
 */
import './telemetry.js';
import * as ort from 'onnxruntime-node';
import type { DType, HostTensor } from '../graph/dtype.js';
import { cudaProblem } from './cuda-problem.js';

/** The version of ONNX Runtime. */
export const ortVersion: string = ort.env.versions.node ?? ort.env.versions.common;

export type Device = 'cpu' | 'webgpu' | 'cuda';
export type Session = ort.InferenceSession;
export type SessionOptions = ort.InferenceSession.SessionOptions;
export type DeviceValue = ort.Tensor;

/** A device that was asked for and cannot be used, with the remedy. */
export class DeviceError extends Error {
  override readonly name = 'DeviceError';
}

const REMEDIES: Readonly<Record<Device, string>> = {
  cpu: 'Reinstall onnxruntime-node',
  webgpu: 'It needs a GPU driver (Vulkan on Linux: libvulkan1 and the driver of the card); without one use --device cpu',
  cuda:
    'It needs Linux x64, an NVIDIA driver, CUDA 12 with cuDNN 9, and the CUDA libraries of ONNX Runtime: ' +
    'ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild onnxruntime-node; otherwise use --device webgpu or cpu',
};

/** In a browser: WebAssembly is the CPU. */
const web = !('listSupportedBackends' in ort);

/** The devices that this build of ONNX Runtime can be asked for (a driver or library may still be missing). */
export function availableDevices(): Device[] {
  if (web) return 'gpu' in navigator ? ['cpu', 'webgpu'] : ['cpu'];
  const names = ort.listSupportedBackends().map((b) => b.name);
  return (['cpu', 'webgpu', 'cuda'] as const).filter((d) => names.includes(d));
}

/** Opens a session on a device. @throws DeviceError if the device is missing or does not work. */
export async function createSession(model: Uint8Array, device: Device, options: SessionOptions): Promise<Session> {
  if (!availableDevices().includes(device)) {
    throw new DeviceError(`This build of ONNX Runtime has no ${device} provider. ${REMEDIES[device]}.`);
  }
  try {
    return await ort.InferenceSession.create(model, { ...options, executionProviders: [web && device === 'cpu' ? 'wasm' : device] });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    if (device === 'cpu' || !(/adapter|shared library|CUDA|driver|device/i.test(reason) || (device === 'cuda' && cudaProblem(reason)))) throw error;
    // Before the cause it names its own source, line and condition.
    const known = device === 'cuda' ? cudaProblem(reason) : null;
    if (known) throw new DeviceError(`Cannot use cuda: ${known}. Otherwise use --device webgpu or cpu.`, { cause: error });
    const cause = reason.trim().replace(/^.* was false\. /s, '').replace(/\.$/, '');
    throw new DeviceError(`Cannot use ${device}: ${cause}. ${REMEDIES[device]}.`);
  }
}

/** A value as ONNX Runtime takes it: its JavaScript knows no bfloat16, whose words go in as float16's. */
export const asFed = (value: HostTensor): HostTensor => (value.dtype === 'bfloat16' ? { ...value, dtype: 'float16' } : value);

/** Hands host numbers to ONNX Runtime without copying them. */
export function toDevice(value: HostTensor): DeviceValue {
  return new ort.Tensor(value.dtype as ort.Tensor.Type, value.data as never, [...value.shape]);
}

/** The numbers of a result that lies on the host. */
export function toHost(value: DeviceValue, dtype: DType): HostTensor {
  return { dtype, shape: value.dims, data: value.data as HostTensor['data'] };
}
