/**
 * @file `bench engine`: operators and blocks of Stable Diffusion 1.5, forward and forward + backward: time, share of this
 * machine's own matrix-product peak, peak memory, and the ratio to PyTorch.
 *
 * The machine's peak, ours and PyTorch are run in turn, round after round, and each share and ratio is a median over the
 * rounds: what else the machine does then falls on all of them alike.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { cpus } from 'node:os';
import { matmul } from '../src/graph/ops/matmul.js';
import { formatProfile, profile } from '../src/machine/profile.js';
import { CASES, blockOf, nameOf } from './cases.js';
import type { CaseSpec, Mode } from './cases.js';
import { open, trial } from './executable.js';
import { peakOf } from './peak.js';
import { startReference } from './reference.js';
import type { Reference } from './reference.js';

/** Rows, inner length and columns of the products whose best speed counts as the machine's peak. */
const PEAK_SHAPES = [[1024, 1024, 1024], [320, 2880, 4096], [2048, 1024, 2048]] as const;
/** Threads for either side; all cores by default. */
const THREADS = Number(process.env['ATTUNE_BENCH_THREADS'] ?? cpus().length);
const SECONDS = 6;
const MAX_ROUNDS = 40;
const MIN_ROUNDS = 5;
const PROFILE_ROWS = 8;

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

async function timed(run: () => Promise<unknown>, count: number): Promise<number> {
  // A pause lets the other side's waiting threads go to sleep.
  await sleep(5);
  let best = Infinity;
  for (let i = 0; i < count; i++) {
    const start = performance.now();
    await run();
    best = Math.min(best, performance.now() - start);
  }
  return best;
}

/** Returns the machine's best matrix product, in floating-point operations a second, at this moment. */
async function peakMeter(): Promise<() => Promise<number>> {
  const meters = await Promise.all(PEAK_SHAPES.map(async ([m, k, n]) => {
    const t = trial({ shape: [m, k], flops: { forward: 2 * m * k * n, training: 0 }, trace: (x, from) => matmul(x, from.frozen('b', [k, n])) }, 'forward');
    const executable = await open(t, { threads: THREADS });
    await executable.run(t.feeds);
    return async (): Promise<number> => (2 * m * k * n * 1000) / (await timed(() => executable.run(t.feeds), 2));
  }));
  return async () => {
    let best = 0;
    for (const meter of meters) best = Math.max(best, await meter());
    return best;
  };
}

interface Row {
  name: string;
  mode: Mode;
  milliseconds: number;
  flopsPerSecond: number;
  share: number;
  bytes: number | null;
  /** Our time by PyTorch's; undefined without PyTorch. */
  ratio?: number;
  referenceMilliseconds?: number;
  referenceBytes?: number | null;
}

async function measure(spec: CaseSpec, mode: Mode, peak: () => Promise<number>, reference: Reference | null): Promise<Row> {
  const block = blockOf(spec);
  const t = trial(block, mode);
  const executable = await open(t, { threads: THREADS });
  await executable.run(t.feeds);
  await reference?.open(spec, mode);
  const flops = block.flops[mode];
  const [ours, theirs, shares]: [number[], number[], number[]] = [[], [], []];
  const until = performance.now() + 1000 * SECONDS;
  // Short cases are repeated within a round.
  const count = Math.max(1, Math.min(10, Math.round(20 / (await timed(() => executable.run(t.feeds), 1)))));
  for (let round = 0; round < MIN_ROUNDS || (round < MAX_ROUNDS && performance.now() < until); round++) {
    const top = await peak();
    ours.push(await timed(() => executable.run(t.feeds), count));
    if (reference) {
      await sleep(5);
      theirs.push(Math.min(...(await reference.run(count))));
    }
    shares.push((flops * 1000) / ours.at(-1)! / top);
  }
  await executable.release();
  const row = { name: nameOf(spec), mode, milliseconds: median(ours), flopsPerSecond: (flops * 1000) / median(ours), share: median(shares) };
  const bytes = peakOf({ case: spec, mode })?.bytes ?? null;
  if (!reference) return { ...row, bytes };
  const ratio = median(ours.map((ms, i) => ms / theirs[i]!));
  return { ...row, bytes, ratio, referenceMilliseconds: median(theirs), referenceBytes: reference.peak(spec, mode) };
}

const mib = (bytes: number | null | undefined): string => (bytes == null ? '-' : (bytes / 2 ** 20).toFixed(0));

function format(row: Row): string {
  const speed = row.flopsPerSecond > 0 ? [(row.flopsPerSecond / 1e9).toFixed(0), `${(100 * row.share).toFixed(0)}%`] : ['-', '-'];
  const memory = row.bytes && row.referenceBytes ? (row.bytes / row.referenceBytes).toFixed(2) : '-';
  return [
    row.name.padEnd(36),
    row.mode.padEnd(9),
    row.milliseconds.toFixed(2).padStart(9),
    ...speed.map((s) => s.padStart(7)),
    mib(row.bytes).padStart(8),
    (row.referenceMilliseconds?.toFixed(2) ?? '-').padStart(10),
    (row.ratio?.toFixed(2) ?? '-').padStart(7),
    mib(row.referenceBytes).padStart(10),
    memory.padStart(7),
  ].join('');
}

/** What recomputing eight blocks saves, forms of the weights (which both hold) apart. */
function checkpointing(): void {
  for (const spec of CASES.filter((c) => c.kind === 'residual' || c.kind === 'transformer')) {
    const [kept, recomputed] = [false, true].map((recompute) => peakOf({ case: spec, mode: 'training', chain: { count: 8, recompute } }));
    if (!kept || !recomputed) continue;
    const [all, some] = [kept, recomputed].map((p) => p.bytes - p.derived) as [number, number];
    console.log(`8 x ${nameOf(spec)}: peak ${mib(all)} MiB kept, ${mib(some)} MiB checkpointed, ratio ${(some / all).toFixed(2)}; `
      + `forms of the weights ${mib(kept.derived)} MiB`);
  }
}

/** Where the time of the cases goes, operator by operator. */
async function profiles(cases: readonly CaseSpec[]): Promise<void> {
  for (const spec of cases) {
    for (const mode of ['forward', 'training'] as const) {
      const t = trial(blockOf(spec), mode);
      const executable = await open(t, { threads: THREADS });
      console.log(`\n${nameOf(spec)}, ${mode}: ${formatProfile(await profile(executable, t.feeds), PROFILE_ROWS)}`);
      await executable.release();
    }
  }
}

/** @param args a filter: only cases whose name contains it; `--profile`: their operators instead of the comparison */
export async function benchEngine(args: readonly string[]): Promise<void> {
  const filter = args.find((a) => !a.startsWith('--')) ?? '';
  if (args.includes('--profile')) return profiles(CASES.filter((c) => nameOf(c).includes(filter)));
  const reference = await startReference();
  console.log(`${cpus().length} x ${cpus()[0]?.model ?? 'unknown processor'}, Node ${process.version}, ${THREADS} threads, ${reference?.description ?? 'no python3 with torch'}`);
  const peak = await peakMeter();
  const heads = ['case'.padEnd(36), 'mode'.padEnd(9), 'ms'.padStart(9), 'GFLOP/s'.padStart(7), 'peak'.padStart(7), 'MiB'.padStart(8)];
  console.log([...heads, 'torch ms'.padStart(10), 'ratio'.padStart(7), 'torch MiB'.padStart(10), 'ratio'.padStart(7)].join(''));
  for (const spec of CASES.filter((c) => nameOf(c).includes(filter))) {
    for (const mode of ['forward', 'training'] as const) console.log(format(await measure(spec, mode, peak, reference)));
  }
  if (!filter) checkpointing();
  reference?.close();
}
