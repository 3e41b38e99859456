/**
 * @file `bench workers [METHOD]`: rounds of the bundled model on one thread, on all cores of one process, and on a worker for
 * each core, in turn; and the same update in PyTorch on all cores (ATTUNE_PYTHON, as for `bench train`).
 */
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { createInterface } from 'node:readline/promises';
import { fileURLToPath } from 'node:url';
import { openCase, openPyTorch } from './train.js';

const CORES = availableParallelism();
const ROUNDS = 7;

interface Place {
  readonly name: string;
  readonly settings: Readonly<Record<string, unknown>>;
}

const PLACES: readonly Place[] = [
  { name: 'one thread', settings: { threads: 1 } },
  { name: `one process, ${CORES} threads`, settings: { threads: CORES } },
  ...[4, 2].map((microbatch) => ({ name: `${CORES} workers, parts of ${microbatch}`, settings: { workers: CORES, threads: 1, microbatch } })),
  { name: 'one thread, parts of 4', settings: { threads: 1, microbatch: 4 } },
];

/** A process that makes a round for each line that it reads, and says its seconds. */
function openPlace({ settings }: Place, method: string) {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), JSON.stringify({ ...settings, 'method.name': method })], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async round(): Promise<number> {
      child.stdin.write('round\n');
      const { done, value } = await lines.next();
      if (done) throw new Error('the process has ended');
      return Number(value);
    },
    end: () => child.stdin.end(),
  };
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

export async function benchWorkers([method = 'draft-lv']: readonly string[]): Promise<void> {
  const places = PLACES.map((place) => ({ name: place.name, ...openPlace(place, method) }));
  const theirs = method === 'draft-lv' ? await openPyTorch(CORES) : null;
  const all = [...places, ...(theirs ? [{ name: `${theirs.name}, ${CORES} threads`, round: theirs.step, end: theirs.end }] : [])];
  const seconds = all.map((): number[] => []);
  // The first round compiles.
  for (let i = 0; i <= ROUNDS; i++) {
    for (const [k, { round }] of all.entries()) {
      const s = await round();
      if (i > 0) seconds[k]!.push(s);
    }
  }
  const [, whole] = seconds.map(median);
  console.log(`${method}, seconds a round of 8 images, median of ${ROUNDS} in turn (least to most), and one process on ${CORES} threads over it`);
  for (const [k, { name, end }] of all.entries()) {
    const s = seconds[k]!;
    console.log(`${name.padEnd(60)} ${median(s).toFixed(2)} (${Math.min(...s).toFixed(2)} to ${Math.max(...s).toFixed(2)})  ${(whole! / median(s)).toFixed(2)}`);
    end();
  }
}

const argument = process.argv[2];
if (argument?.startsWith('{') && process.argv[1] === fileURLToPath(import.meta.url)) {
  const { round, release } = await openCase({ name: 'place', settings: JSON.parse(argument) as Record<string, unknown> });
  let index = 0;
  for await (const _ of createInterface({ input: process.stdin })) {
    const seconds = await round(index++);
    console.log(seconds.reduce((a, b) => a + b, 0));
  }
  await release();
}
