/** @file Inputs that many runs read and few change (a LoRA's values, a prompt's states): uploaded when they have changed, not at every run. */
import type { HostTensor, TypedArray } from '../graph/dtype.js';
import type { DeviceValue } from './device.js';
import { upload } from './gpu-buffers.js';
import type { GpuBuffer } from './gpu-buffers.js';

export interface DeviceCopies {
  /** Whether an input is one of these. */
  keeps(name: string): boolean;
  /** The value of an input on the GPU: what lies there if that has the same bits, else a new buffer in its place. */
  value(name: string, now: HostTensor): Promise<DeviceValue>;
  release(): void;
}

interface Copy {
  /** What was uploaded: whoever trains changes numbers in place, and tells nobody. */
  readonly bits: Uint8Array;
  readonly buffer: GpuBuffer;
}

const bitsOf = (data: TypedArray): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

const equal = (a: Uint8Array, b: Uint8Array): boolean => {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
};

/** @param keeps tells inputs that take as much memory again on the host as on the GPU, to be compared with */
export function openDeviceCopies(keeps: (name: string) => boolean): DeviceCopies {
  const copies = new Map<string, Copy>();
  return {
    keeps,
    async value(name, now) {
      const known = copies.get(name);
      const bits = bitsOf(now.data);
      if (known && equal(known.bits, bits)) return known.buffer.value;
      const buffer = await upload(now);
      known?.buffer.dispose();
      copies.set(name, { bits: bits.slice(), buffer });
      return buffer.value;
    },
    release() {
      for (const { buffer } of copies.values()) buffer.dispose();
      copies.clear();
    },
  };
}
