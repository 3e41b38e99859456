/** @file Peak memory of a case in a process of its own: `node peak.js '<json>'` prints it, without weights and inputs. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { peakBytes, residentBytes, resetPeak } from '../src/machine/memory.js';
import { chain } from './blocks.js';
import { blockOf } from './cases.js';
import type { CaseSpec, Mode } from './cases.js';
import { open, trial } from './executable.js';

/** A case, or a number of equal blocks in a row, each recomputed in the backward pass or not. */
export interface PeakSpec {
  readonly case: CaseSpec;
  readonly mode: Mode;
  readonly chain?: { readonly count: number; readonly recompute: boolean };
}

export interface Peak {
  /** Of all that the case takes beside weights and inputs. */
  readonly bytes: number;
  /** Of these, what is held of forms of the weights that operators prefer. */
  readonly derived: number;
}

/** Measures in a fresh process; null where the system cannot tell. */
export function peakOf(spec: PeakSpec): Peak | null {
  const { stdout } = spawnSync(process.execPath, [fileURLToPath(import.meta.url), JSON.stringify(spec)], { encoding: 'utf8' });
  return stdout ? (JSON.parse(stdout) as Peak | null) : null;
}

async function measure({ case: spec, mode, chain: row }: PeakSpec): Promise<Peak | null> {
  const block = blockOf(spec);
  const t = trial(row ? chain(block, row.count, row.recompute) : block, mode);
  // ONNX Runtime's own code is loaded before the count starts, as PyTorch's is.
  const small = trial(blockOf({ kind: 'softmax', batch: 1, channels: 8, size: 8 }), 'forward');
  await (await open(small)).run(small.feeds);
  const before = residentBytes();
  if (!resetPeak()) return null;
  // As in training: shapes are hidden where blocks are computed again.
  const executable = await open(t, { hideShapes: row?.recompute ?? false });
  for (let i = 0; i < 3; i++) await executable.run(t.feeds);
  return { bytes: peakBytes() - before, derived: executable.derivedBytes };
}

const argument = process.argv[2];
if (argument && process.argv[1] === fileURLToPath(import.meta.url)) {
  process.stdout.write(JSON.stringify(await measure(JSON.parse(argument) as PeakSpec)));
}
