/** @file How much memory a machine and its GPU have in all: the same at each start, whatever else runs. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import type { Device } from '../runtime/device.js';

/** Bytes of this machine, or those that this process is confined to. */
function hostMemory(): number {
  const most = totalmem();
  const confined = process.constrainedMemory?.() ?? 0;
  return confined > 0 && confined < most ? confined : most;
}

/** Vulkan drivers that compute on the CPU, in its memory. */
const SOFTWARE = /lvp|lavapipe|swiftshader/i;

/** It comes with the driver. */
const NVIDIA_TOOL = 'nvidia-smi';

/** What NVIDIA's tool says of the first card. */
function nvidiaMemory(): number | null {
  try {
    const options = ['--query-gpu=memory.total', '--format=csv,noheader,nounits'];
    const mib = Number(execFileSync(NVIDIA_TOOL, options, { encoding: 'utf8', timeout: 5000, stdio: ['ignore', 'pipe', 'ignore'] }).split('\n')[0]);
    return mib > 0 ? mib * 2 ** 20 : null;
  } catch {
    return null;
  }
}

/** What Linux's driver says of the largest AMD card. */
function amdMemory(folder = '/sys/class/drm'): number | null {
  try {
    const sizes = readdirSync(folder).filter((name) => /^card\d+$/.test(name)).map((name) => {
      try {
        return Number(readFileSync(join(folder, name, 'device/mem_info_vram_total'), 'utf8'));
      } catch {
        return 0;
      }
    });
    return Math.max(0, ...sizes) || null;
  } catch {
    return null;
  }
}

/**
 * Bytes of the memory that a device computes in; null where nobody tells. WebGPU itself does not: of NVIDIA's cards their
 * tool does, of AMD's the driver, and a driver in software, as all of Apple's chips, has the machine's.
 */
export function deviceMemory(device: Device): number | null {
  if (device === 'cpu') return hostMemory();
  const driver = process.env['VK_DRIVER_FILES'] ?? process.env['VK_ICD_FILENAMES'] ?? '';
  if (device === 'webgpu' && (process.platform === 'darwin' || SOFTWARE.test(driver))) return hostMemory();
  return nvidiaMemory() ?? (device === 'webgpu' ? amdMemory() : null);
}
