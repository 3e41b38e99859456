/** @file What of the machine decides the last bits of a result: the kind of processor, and the version of ONNX Runtime. */
import { readFileSync } from 'node:fs';
import { channelBlock } from '../runtime/blocked-layout.js';

/** Instruction sets by which ONNX Runtime chooses its kernels, as Linux calls them. */
const SETS = /^(?:avx|avx2|fma|f16c|avx512(?:f|bw|dq|vl|_vnni|_bf16|_fp16)|avx_vnni|amx_(?:tile|int8|bf16)|asimd|asimddp|sve|sve2|i8mm|bf16|fphp)$/;

/** The sets that this machine has; empty where the system does not tell. */
function instructionSets(): string[] {
  try {
    const [, flags = ''] = /^(?:flags|Features)\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8')) ?? [];
    return [...new Set(flags.split(/\s+/).filter((flag) => SETS.test(flag)))].toSorted();
  } catch {
    return [];
  }
}

/** Architecture, instruction sets and the block of the channel layout: equal text, equal results with equal threads. */
export async function processorKind(): Promise<string> {
  const block = await channelBlock();
  return [process.platform, process.arch, ...instructionSets(), block === null ? 'no blocks' : `blocks of ${block}`].join(' ');
}
