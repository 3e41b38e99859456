/** @file What a GPU that gives up in the middle of its work says, in words: its memory is used up, or it is gone. */
import type { Device } from './device.js';

/** A device that worked, and failed while it computed: no setting is wrong in itself. */
class DeviceFailure extends Error {
  override readonly name = 'DeviceFailure';
}

/** Texts of Dawn (WebGPU) and CUDA. A buffer that could not be made is told of where it is used. */
const MEMORY = /invalid due to a previous error|out of (?:device )?memory|OUT_OF_(?:DEVICE_|HOST_)?MEMORY|ALLOC_FAILED|Failed to allocate memory/i;
const TOO_LARGE = /Buffer size \((\d+)\) exceeds the max buffer size limit \((\d+)\)/;
const LOST = /device (?:is|was|has been) lost|lost device|DeviceLost|DEVICE_LOST|launch failure|unspecified launch|CUDA failure (?:4|46|700|719|999)\b/i;

const LESS = 'Take less at a time: a smaller --microbatch (training) or --batch, --set checkpointing=true, --precision mixed, a smaller size; '
  + 'or close what else uses the GPU, or --device cpu';

const first = (text: string): string => text.trim().split('\n')[0]!.slice(0, 200);

/** The error to throw for one that a run on a device threw. */
export function deviceFailure(device: Device, error: unknown): unknown {
  if (device === 'cpu' || !(error instanceof Error)) return error;
  const { message } = error;
  const large = TOO_LARGE.exec(message);
  const mib = (bytes: string | undefined): string => `${Math.round(Number(bytes) / 2 ** 20)} MiB`;
  if (large) {
    return new DeviceFailure(`${device}: one tensor takes ${mib(large[1])}, and this adapter has no buffers above ${mib(large[2])}. ${LESS}.`, { cause: error });
  }
  if (MEMORY.test(message)) return new DeviceFailure(`${device}: the device's memory is used up (${first(message)}). ${LESS}.`, { cause: error });
  if (LOST.test(message)) {
    return new DeviceFailure(`${device}: the device is gone (${first(message)}): its driver was reset or updated, or the machine slept. `
      + 'Start again; if it comes again, attune doctor looks for the fault, and --device cpu does without it.', { cause: error });
  }
  return error;
}
