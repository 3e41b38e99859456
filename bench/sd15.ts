/**
 * @file `bench sd15`: Stable Diffusion 1.5's networks at 512 x 512 with random weights: time, share of the machine's
 * matrix-product peak, peak memory, ratio to diffusers on PyTorch; and how much memory loading a checkpoint takes.
 *
 * Every part runs in a process of its own, ours and PyTorch's one after the other, so that memory is free again and its
 * peak is that part's alone.
 */
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { LoadResult, Part, PartResult } from './sd15-parts.js';

const PYTHON = process.env['ATTUNE_PYTHON'] ?? 'python3';
/** The script lies beside the sources: this file runs from dist-bench/bench. */
const REFERENCE = fileURLToPath(new URL('../../bench/reference_sd15.py', import.meta.url));
const OURS = fileURLToPath(new URL('sd15-parts.js', import.meta.url));

const PARTS: Readonly<Record<Exclude<Part, 'write' | 'load'>, string>> = {
  text: 'text encoder, 2 prompts',
  unet: 'U-Net forward, batch 2',
  vae: 'VAE decode, 1 image',
  lora: 'U-Net LoRA gradient, batch 1, checkpointed',
  step: 'LoRA step through U-Net and VAE, batch 1, checkpointed',
};

const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(2)} GiB`;

/** Runs a part in a process; null if it cannot be run. */
function inProcess<T>(command: string, args: readonly string[]): T | null {
  const { stdout, stderr, status } = spawnSync(command, args, { encoding: 'utf8' });
  if (status === 0) return JSON.parse(stdout.trim().split('\n').at(-1)!) as T;
  console.error(stderr?.trim().split('\n').slice(-3).join('\n') ?? `${command} cannot be started`);
  return null;
}

function compare(part: keyof typeof PARTS, threads: number, storage: string, side: string, reference: boolean): void {
  const ours = inProcess<PartResult>(process.execPath, [OURS, part, String(threads), storage, side]);
  if (!ours) return;
  const { seconds, cpu, peak, flops, machine } = ours;
  const share = `${(flops / cpu / 1e9).toFixed(0)} GFLOP/s = ${((100 * flops) / cpu / machine).toFixed(0)}% of peak`;
  console.log(`${PARTS[part]}, ${storage} weights, latents ${side} x ${side}: ${seconds.toFixed(2)} s (processor ${cpu.toFixed(2)} s, ${share}), peak ${gib(peak)}`);
  if (!reference) return;
  const theirs = inProcess<PartResult & { version: string }>(PYTHON, [REFERENCE, part, String(threads)]);
  if (!theirs) return;
  console.log(`  PyTorch ${theirs.version}: ${theirs.seconds.toFixed(2)} s (processor ${theirs.cpu.toFixed(2)} s), `
    + `peak ${gib(theirs.peak)}; ratios: time ${(seconds / theirs.seconds).toFixed(2)}, processor `
    + `${(cpu / theirs.cpu).toFixed(2)}, memory ${(peak / theirs.peak).toFixed(2)}`);
}

async function loading(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'attune-sd15-'));
  try {
    for (const dtype of ['float32', 'float16']) {
      if (!inProcess(process.execPath, [OURS, 'write', folder, dtype])) return;
      const loaded = inProcess<LoadResult>(process.execPath, [OURS, 'load', folder]);
      if (!loaded) return;
      const { seconds, weights, peak } = loaded;
      console.log(`load a checkpoint of ${dtype}: ${seconds.toFixed(1)} s, ${gib(weights)} of weights, `
        + `peak ${gib(peak)} = ${(peak / weights).toFixed(2)} times that`);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** @param args parts to run (default: all, and loading), `--threads N` (default 1), `--storage float16`, `--side 32`, `--no-reference` */
export async function benchSd15(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args], allowPositionals: true, allowNegative: true,
    options: {
      threads: { type: 'string', default: '1' }, storage: { type: 'string', default: 'float32' }, side: { type: 'string', default: '64' },
      reference: { type: 'boolean', default: true } },
  });
  const wanted = (name: string): boolean => positionals.length === 0 || positionals.includes(name);
  for (const part of Object.keys(PARTS) as (keyof typeof PARTS)[]) {
    if (wanted(part)) {
      compare(part, Number(values.threads), values.storage, values.side, values.reference && values.side === '64');
    }
  }
  if (wanted('load')) await loading();
}
