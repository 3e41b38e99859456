/**
 * @file `npm run fuzz -- [--seconds N] [--seed S] [--target NAME]`: changed files for every reader. Each must be read, or
 * refused with a sentence, in five seconds of the processor and bounded memory; what is not is kept with the command
 * that repeats it (`--target NAME --file PATH`), and the exit code is 1. Case i of a seed is always the same.
 */
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { mutate, randomOf } from './mutate.js';
import type { Answer, Task } from './reader.js';
import { TARGETS } from './targets.js';
import type { Target } from './targets.js';

const SECONDS = 5;
/** By the clock, where the process does not answer at all: other programs may have the processor. */
const PATIENCE = 30;
/** Beyond what the process has after reading whole files. */
const MOST_BYTES = 1.5 * 2 ** 30;

const { values: flags } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' }, seed: { type: 'string', default: '0' }, target: { type: 'string' },
    file: { type: 'string' }, keep: { type: 'string', default: 'fuzz-findings' },
  },
});

let child: ChildProcess | null = null;

async function startReader(): Promise<ChildProcess> {
  const started = fork(join(import.meta.dirname, 'reader.js'), { execArgv: ['--max-old-space-size=1024'], stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
  await new Promise<void>((done, fail) => {
    started.once('message', () => done());
    started.once('exit', (code) => fail(new Error(`the reader ended with ${code}`)));
  });
  return started;
}

/** Reads in the other process; what is wrong with how it went, or null. */
async function fault(task: Task): Promise<{ problem: string | null; answer: Answer | null }> {
  const reader = (child ??= await startReader());
  let said = '';
  const hear = (chunk: Buffer): void => void (said = `${said}${chunk}`.slice(-2000));
  reader.stderr!.on('data', hear);
  let timer: NodeJS.Timeout | undefined;
  const answer = await new Promise<Answer | string>((done) => {
    reader.removeAllListeners('exit').once('exit', (code, signal) => done(`ended the process (${signal ?? code}): ${said}`));
    reader.removeAllListeners('message').once('message', (a) => done(a as Answer));
    timer = setTimeout(() => done(`took over ${PATIENCE} seconds by the clock`), PATIENCE * 1000);
    reader.send(task);
  });
  clearTimeout(timer);
  reader.stderr!.off('data', hear);
  const problem = typeof answer === 'string' ? answer
    : answer.outcome === 'fault' ? answer.message
      : answer.seconds > SECONDS ? `took ${answer.seconds.toFixed(1)} seconds of the processor`
        : answer.peakBytes > MOST_BYTES ? `took ${Math.round(answer.peakBytes / 2 ** 20)} MiB` : null;
  if (typeof answer === 'string' || answer.peakBytes > MOST_BYTES) {
    reader.removeAllListeners('exit').kill('SIGKILL');
    child = null;
  }
  return { problem, answer: typeof answer === 'string' ? null : answer };
}

/** Faults are one if they arise in one place: the first lines, without numbers. */
const kindOf = (target: Target, problem: string): string =>
  `${target.name}: ${problem.split('\n').slice(0, 2).join(' ').replace(/[\d.]+/g, '#').replace(/\/\S+/g, '').slice(0, 160)}`;

async function main(): Promise<number> {
  const targets = TARGETS.filter((t) => flags.target === undefined || t.name === flags.target);
  if (targets.length === 0) throw new Error(`no target ${flags.target}; there are ${TARGETS.map((t) => t.name).join(', ')}`);
  const scratch = await mkdtemp(join(tmpdir(), 'attune-fuzz-'));
  try {
    return flags.file === undefined ? await search(targets, scratch) : await repeat(targets[0]!, scratch, flags.file);
  } finally {
    child?.removeAllListeners('exit').kill('SIGKILL');
    await rm(scratch, { recursive: true, force: true });
  }
}

async function repeat(target: Target, scratch: string, path: string): Promise<number> {
  await target.make(scratch);
  const file = target.files.find((f) => basename(path).endsWith(f.replaceAll('/', '+'))) ?? target.files[0]!;
  await copyFile(resolve(path), join(scratch, file));
  const { problem, answer } = await fault({ target: target.name, folder: scratch, file });
  console.log(problem ?? `${answer!.outcome}: ${answer!.message}`);
  return problem === null ? 0 : 1;
}

async function search(targets: readonly Target[], scratch: string): Promise<number> {
  const seed = Number(flags.seed);
  const end = performance.now() + Number(flags.seconds) * 1000;
  const whole = new Map<string, Map<string, Buffer>>();
  for (const target of targets) {
    const folder = join(scratch, target.name);
    await mkdir(folder);
    await target.make(folder);
    // A target whose whole files are refused would find nothing.
    for (const file of target.files) {
      const { problem, answer } = await fault({ target: target.name, folder, file });
      if (problem !== null || answer!.outcome !== 'read') throw new Error(`${target.name}, ${file}: ${problem ?? answer!.message}`);
    }
    whole.set(target.name, new Map(await Promise.all(target.files.map(async (f) => [f, await readFile(join(folder, f))] as const))));
  }
  const counts = { read: 0, refused: 0, fault: 0 };
  const found = new Map<string, number>();
  let slowest = { seconds: 0, name: '' };
  let cases = 0;
  for (; performance.now() < end; cases++) {
    const random = randomOf(seed * 1_000_003 + cases);
    const target = targets[cases % targets.length]!;
    const folder = join(scratch, target.name);
    const pick = (): string => target.files[Math.floor(random() * target.files.length)]!;
    const [file, other] = [pick(), pick()];
    const contents = whole.get(target.name)!;
    const bytes = mutate(contents.get(file)!, contents.get(other)!, random);
    await writeFile(join(folder, file), bytes);
    const { problem, answer } = await fault({ target: target.name, folder, file });
    await writeFile(join(folder, file), contents.get(file)!);
    counts[problem === null ? answer!.outcome : 'fault']++;
    if (answer && answer.seconds > slowest.seconds) slowest = { seconds: answer.seconds, name: `${target.name}, case ${cases}` };
    if (problem === null) continue;
    const kind = kindOf(target, problem);
    found.set(kind, (found.get(kind) ?? 0) + 1);
    if (found.get(kind)! > 1) continue;
    const kept = join(flags.keep, `${target.name}-${seed}-${cases}-${file.replaceAll('/', '+')}`);
    await mkdir(dirname(kept), { recursive: true });
    await writeFile(kept, bytes);
    console.log(`${target.name}, case ${cases}: ${problem}\n  again: npm run fuzz -- --target ${target.name} --file ${kept}\n`);
  }
  console.log(`${cases} cases of seed ${seed}: ${counts.read} read, ${counts.refused} refused, ${counts.fault} faults of ${found.size} kinds; `
    + `slowest ${slowest.seconds.toFixed(2)} s (${slowest.name})`);
  for (const [kind, count] of found) console.log(`  ${count} × ${kind}`);
  return found.size > 0 ? 1 : 0;
}

process.exitCode = await main();
