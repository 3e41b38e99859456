/**
 * @file How much device memory ONNX Runtime's WebGPU provider takes for what a graph allocates and frees. Sizes are rounded
 * up to those of a table; a freed buffer is used again once the commands that were recorded before have been submitted, and
 * kept then, up to so many of a size.
 */
import type { MemoryStep } from './buffer-plan.js';

/** Sizes, and how many free buffers of each are kept (buffer_manager.cc, the mode `bucket`). Larger ones are not rounded. */
const KEPT: readonly (readonly [bytes: number, count: number])[] = [
  [64, 250], [128, 200], [256, 200], [512, 200], [2048, 230], [4096, 200], [8192, 50], [16384, 50], [32768, 50], [65536, 50],
  [131072, 50], [262144, 50], [524288, 50], [1048576, 50], [2097152, 30], [4194304, 20], [8388608, 10], [12582912, 10],
  [16777216, 10], [26214400, 15], [33554432, 22], [44236800, 2], [58982400, 6], [67108864, 6], [134217728, 6], [167772160, 6],
];

/** Operators that are recorded before they are submitted together. */
const RECORDED = 16;

/** Bytes of a buffer for so many bytes of numbers. */
export const gpuBufferBytes = (bytes: number): number => KEPT.find(([size]) => size >= bytes)?.[0] ?? Math.ceil(bytes / 16) * 16;

/** Most bytes of buffers at once, those that wait to be used again included, for a graph that is run more than once. */
export function gpuPoolBytes(steps: readonly MemoryStep[]): number {
  const free = new Map<number, number>();
  const freed: number[] = [];
  let [now, most] = [0, 0];
  const submit = (): void => {
    for (const bytes of freed.splice(0)) {
      const count = free.get(bytes) ?? 0;
      if (count < (KEPT.find(([size]) => size === bytes)?.[1] ?? 0)) free.set(bytes, count + 1);
      else now -= bytes;
    }
  };
  const run = (): void => {
    steps.forEach(({ makes, frees }, at) => {
      for (const buffer of makes) {
        const bytes = gpuBufferBytes(buffer.bytes);
        const count = free.get(bytes) ?? 0;
        if (count > 0) free.set(bytes, count - 1);
        else now += bytes;
      }
      most = Math.max(most, now);
      for (const buffer of frees) freed.push(gpuBufferBytes(buffer.bytes));
      if (at % RECORDED === RECORDED - 1) submit();
    });
    // Outputs go once they have been read.
    for (const buffer of kept) freed.push(gpuBufferBytes(buffer.bytes));
    submit();
  };
  const gone = new Set(steps.flatMap(({ frees }) => frees));
  const kept = steps.flatMap(({ makes }) => makes).filter((buffer) => !gone.has(buffer));
  run();
  run();
  return most;
}
