/** @file Why CUDA cannot be used here, from what ONNX Runtime's loader says. */

/** CUDA and cuDNN of the provider that comes with ONNX Runtime 1.30. */
const NEEDS = { cuda: 12, cudnn: 9 } as const;

const LIBRARIES = 'pip install nvidia-cublas-cu12 nvidia-cuda-runtime-cu12 nvidia-cudnn-cu12 nvidia-cufft-cu12 nvidia-curand-cu12 '
  + 'brings them without touching what is installed; put the folders nvidia/*/lib of site-packages into LD_LIBRARY_PATH';
const REINSTALL = 'ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild onnxruntime-node brings the one that belongs to it';

/**
 * What is wrong, and what to do about it; null for a reason of another kind.
 *
 * @param reason of ONNX Runtime, when it loads the provider or opens a session
 */
export function cudaProblem(reason: string): string | null {
  const missing = /(lib[\w.-]+?\.so(?:\.\d+)*): cannot open shared object file/.exec(reason)?.[1];
  if (missing?.startsWith('libcudnn')) {
    return `${missing} is missing: it needs cuDNN ${NEEDS.cudnn} for CUDA ${NEEDS.cuda}. ${LIBRARIES}`;
  }
  if (missing?.startsWith('libonnxruntime')) return `${missing}, ONNX Runtime's CUDA provider, is missing. ${REINSTALL}`;
  if (missing) {
    return `${missing} is missing: it needs CUDA ${NEEDS.cuda}, and no other version serves (attune doctor says which are here). ${LIBRARIES}`;
  }
  if (/invalid ELF header|wrong ELF class|file too short|undefined symbol|version [`'][^']+' not found|API version .* not (?:available|supported)/i.test(reason)) {
    return `a library is damaged or of another version than this ONNX Runtime. ${REINSTALL}`;
  }
  if (/driver version is insufficient|CUDA failure 35\b/i.test(reason)) return `the NVIDIA driver is older than CUDA ${NEEDS.cuda} needs: update it (525 or later)`;
  if (/no CUDA-capable device|CUDA failure 100\b/i.test(reason)) return 'there is no NVIDIA card, or CUDA_VISIBLE_DEVICES hides it; nvidia-smi must list it';
  if (/no kernel image is available|CUDA failure 209\b/i.test(reason)) return 'this provider has no code for the card\'s generation: use --device webgpu';
  return null;
}
