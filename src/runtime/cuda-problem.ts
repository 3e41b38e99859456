/** @file Why CUDA cannot be used here, from what ONNX Runtime's loader says and from the libraries that lie about. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';

/** CUDA and cuDNN of the provider that comes with ONNX Runtime 1.30. */
const NEEDS = { cuda: 12, cudnn: 9 } as const;

const LIBRARIES = 'pip install nvidia-cublas-cu12 nvidia-cuda-runtime-cu12 nvidia-cudnn-cu12 nvidia-cufft-cu12 nvidia-curand-cu12 '
  + 'brings them without touching what is installed; put the folders nvidia/*/lib of site-packages into LD_LIBRARY_PATH';
const REINSTALL = 'ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild onnxruntime-node brings the one that belongs to it';

/** Where CUDA's installers put things on Linux. */
const FOLDERS = ['/usr/local', '/usr/lib/x86_64-linux-gnu', '/usr/lib64', ...(process.env['LD_LIBRARY_PATH'] ?? '').split(':').filter(Boolean)];

/** Major versions of CUDA whose libraries are in these folders, or that have a folder there (cuda-13.0). */
function installedCuda(folders: readonly string[]): number[] {
  const found = new Set<number>();
  for (const folder of folders) {
    let names: string[];
    try {
      names = readdirSync(folder);
    } catch {
      continue;
    }
    for (const name of names) {
      const version = /^cuda-(\d+)/.exec(name)?.[1] ?? /^libcublas(?:Lt)?\.so\.(\d+)/.exec(name)?.[1];
      if (version) found.add(Number(version));
      if (name === 'lib64' || name === 'targets') for (const inner of installedCuda([join(folder, name)])) found.add(inner);
    }
  }
  return [...found].sort((a, b) => a - b);
}

/**
 * What is wrong, and what to do about it; null for a reason of another kind.
 *
 * @param reason of ONNX Runtime, when it loads the provider or opens a session
 */
export function cudaProblem(reason: string, folders: readonly string[] = FOLDERS): string | null {
  const missing = /(lib[\w.-]+?\.so(?:\.\d+)*): cannot open shared object file/.exec(reason)?.[1];
  if (missing?.startsWith('libcudnn')) {
    return `${missing} is missing: it needs cuDNN ${NEEDS.cudnn} for CUDA ${NEEDS.cuda}. ${LIBRARIES}`;
  }
  if (missing?.startsWith('libonnxruntime')) return `${missing}, ONNX Runtime's CUDA provider, is missing. ${REINSTALL}`;
  if (missing) {
    const others = installedCuda(folders).filter((version) => version !== NEEDS.cuda);
    const here = others.length > 0 ? `; CUDA ${others.join(' and ')} is here, which this provider cannot use` : '';
    return `${missing} is missing: it needs CUDA ${NEEDS.cuda}${here}. ${LIBRARIES}`;
  }
  if (/invalid ELF header|wrong ELF class|file too short|undefined symbol|version [`'][^']+' not found|API version .* not (?:available|supported)/i.test(reason)) {
    return `a library is damaged or of another version than this ONNX Runtime. ${REINSTALL}`;
  }
  if (/driver version is insufficient|CUDA failure 35\b/i.test(reason)) return `the NVIDIA driver is older than CUDA ${NEEDS.cuda} needs: update it (525 or later)`;
  if (/no CUDA-capable device|CUDA failure 100\b/i.test(reason)) return 'there is no NVIDIA card, or CUDA_VISIBLE_DEVICES hides it; nvidia-smi must list it';
  if (/no kernel image is available|CUDA failure 209\b/i.test(reason)) return 'this provider has no code for the card\'s generation: use --device webgpu';
  return null;
}
