/** @file The precision that `auto` stands for on a device. */
import type { Pipeline } from '../models/pipeline.js';
import type { PrecisionName } from '../nn/precision.js';
import { openGpu } from '../runtime/gpu-buffers.js';
import type { Device } from '../runtime/device.js';
import { computesFloat16 } from '../runtime/webgpu.js';

/**
 * What to compute in: as was asked, or by what the device can do. On the CPU float16 is slower than float32, and on CUDA
 * nothing has been proven yet.
 *
 * @param tell told what was chosen and why, where there was a choice
 * @param own a model that is loaded already, in what it is
 * @throws DeviceError if the device cannot be used
 */
export async function chosenPrecision(
  asked: PrecisionName | 'auto', device: Device, tell: (text: string) => void, own?: Pipeline,
): Promise<PrecisionName> {
  if (asked !== 'auto') return asked;
  if (own?.precision?.compute === 'float16') return 'mixed';
  if (own || device !== 'webgpu') return 'float32';
  await openGpu();
  const half = await computesFloat16();
  tell(half ? 'precision: mixed, as this GPU computes in float16 (--precision float32 for all digits)'
    : 'precision: float32, as this GPU or its driver has no shader-f16');
  return half ? 'mixed' : 'float32';
}
