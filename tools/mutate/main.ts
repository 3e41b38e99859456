/**
 * @file `npm run mutate -- [src/methods/ddpo.ts …] [--tests tests/methods/ddpo.test.ts …] [--alone FILE …] [--only REGEX]
 * [--most MS] [--seconds N] [--keep FOLDER]`: which small changes of the sources no test notices. All mutants are
 * compiled into a private copy of the repository at once, behind a switch; each test then runs once for each mutant that
 * it reaches (runner.ts), quick tests first, none that takes over MS. What files do as they are loaded (tables,
 * defaults) needs a process for each mutant and is tried with the tests given as `--alone`. FOLDER keeps the results, and
 * a second call goes on with what is left (`--only`: of these files). The report is a line for each mutant that survived.
 */
import { spawnSync } from 'node:child_process';
import { appendFileSync, cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { mutantsOf, withMutants } from './operators.js';
import type { Mutant } from './operators.js';
import type { Line, Pass } from './runner.js';

/** Tests are tried from quick to slow: most mutants die of the first. */
const TIERS = [0, 100, 300, 1000, 3000, 10_000, 30_000, 100_000];

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tests: { type: 'string', multiple: true, default: ['tests/methods', 'tests/schedulers'] },
    alone: { type: 'string', multiple: true, default: [] }, only: { type: 'string', default: '' }, most: { type: 'string', default: '1000' }, seconds: { type: 'string', default: '3600' }, keep: { type: 'string', default: 'mutants' },
  },
});
const keep = resolve(flags.keep);
const copy = join(keep, 'repository');
const log = join(keep, 'log.jsonl');
/** Of what is left to do, mutants of these files alone. */
const only = new RegExp(flags.only);
const until = Date.now() + Number(flags.seconds) * 1000;

type Placed = Mutant & { readonly file: string; readonly line: number; readonly was: string };

const filesIn = (paths: readonly string[], ending: string): string[] => paths.flatMap((path) => (statSync(path).isDirectory()
  ? readdirSync(path).filter((name) => name.endsWith(ending)).map((name) => join(path, name)) : [path]));

/** A copy of the repository with all mutants in it; links stand for what is only read. */
function instrument(files: readonly string[]): Placed[] {
  mkdirSync(copy, { recursive: true });
  for (const name of ['src', 'tools', 'tests']) {
    rmSync(join(copy, name), { recursive: true, force: true });
    cpSync(name, join(copy, name), { recursive: true });
  }
  for (const name of ['node_modules', 'models', 'docs', 'examples', 'bench', 'dist', 'README.md', 'package.json', 'tsconfig.json']) {
    if (existsSync(name) && !existsSync(join(copy, name))) symlinkSync(resolve(name), join(copy, name));
  }
  const all: Placed[] = [];
  for (const file of files) {
    const source = readFileSync(file, 'utf8');
    const mutants = mutantsOf(source);
    writeFileSync(join(copy, file), withMutants(source, mutants, all.length));
    for (const m of mutants) all.push({ ...m, file, line: source.slice(0, m.start).split('\n').length, was: source.slice(m.start, m.end) });
  }
  return all;
}

const tell = (line: Line): void => appendFileSync(log, `${JSON.stringify(line)}\n`);
const lines = (): Line[] => (existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n').filter(Boolean).map((l) => JSON.parse(l) as Line) : []);

/** @returns whether every test passed */
function vitest(pass: Pass, tests: readonly string[]): boolean {
  writeFileSync(join(keep, 'pass.json'), JSON.stringify(pass));
  const { status, signal } = spawnSync(process.execPath, [join(copy, 'node_modules/vitest/vitest.mjs'), 'run', '--config', 'tools/mutate/vitest.config.ts', '--reporter=dot', ...tests], {
    cwd: copy, env: { ...process.env, ATTUNE_MUTATE: join(keep, 'pass.json') }, stdio: ['ignore', 'ignore', pass.alive.length === 0 && pass.always === null ? 'inherit' : 'ignore'], timeout: Math.max(until - Date.now(), 1000), killSignal: 'SIGTERM',
  });
  if (signal !== null) tell({ kind: 'stopped' });
  return status === 0;
}

/** By mutant: what killed it. A test that did not pass afterwards has killed nothing; a mutant that ended the process is dead. */
function killed(): Map<number, string> {
  const found = new Map<number, string>();
  const all = lines();
  const unusable = new Set(all.flatMap((l) => (l.kind === 'void' ? [l.test] : [])));
  for (const [i, line] of all.entries()) {
    if (line.kind === 'result' && line.killed !== null && !unusable.has(line.test)) found.set(line.mutant, `${line.test}: ${line.killed}`);
    const next = all[i + 1];
    if (line.kind === 'start' && next && next.kind !== 'result' && next.kind !== 'stopped') found.set(line.mutant, 'the process ended');
  }
  return found;
}

const sources = filesIn(positionals.length > 0 ? positionals : ['src/methods', 'src/schedulers'], '.ts');
const testFiles = filesIn(flags.tests, '.test.ts');
const mutants = instrument(sources);
writeFileSync(join(keep, 'mutants.json'), JSON.stringify(mutants.map(({ file, line, was, text, kind }, id) => ({ id, file, line, was, text, kind }))));
const plain = { mutants: mutants.length, alive: [], from: 0, to: Infinity, milliseconds: {}, always: null, log };

// What ran when this was stopped the last time says nothing.
tell({ kind: 'stopped' });

// Every test as it is: what it reaches, and how long it takes.
const looked = new Set(lines().flatMap((l) => (l.kind === 'loaded' ? [l.file] : [])));
const unseen = testFiles.filter((f) => !looked.has(f));
if (unseen.length > 0 && !vitest(plain, unseen)) throw new Error('tests fail without any mutant');
const tests = lines().filter((l) => l.kind === 'test');
const milliseconds = Object.fromEntries(tests.map(({ test, ms }) => [test, ms]));
const seconds = tests.reduce((sum, { ms }) => sum + ms / 1000, 0);
console.log(`${mutants.length} mutants in ${sources.length} files; ${tests.length} tests take ${seconds.toFixed(0)} s`);

const tried = new Set(lines().flatMap((l) => (l.kind === 'result' ? [`${l.mutant} ${l.test}`] : [])));
for (const [i, from] of TIERS.slice(0, -1).entries()) {
  const to = Math.min(TIERS[i + 1]!, Number(flags.most));
  if (to <= from) break;
  for (const file of testFiles) {
    const dead = killed();
    const own = tests.filter((t) => t.file === file && t.ms > from && t.ms <= to);
    const alive = new Set(own.flatMap((t) => t.reached.filter((id) => only.test(mutants[id]!.file) && !dead.has(id) && !tried.has(`${id} ${t.test}`))));
    if (alive.size === 0 || Date.now() > until) continue;
    console.log(`${new Date().toISOString().slice(11, 19)} ${to} ms: ${file}, ${own.length} tests, ${alive.size} of ${mutants.length - dead.size} mutants`);
    vitest({ ...plain, alive: [...alive], from, to, milliseconds }, [file]);
  }
}

// What files do as they are loaded is done once for a process: such mutants need their own.
const loads = lines().filter((l) => l.kind === 'loaded');
const reachedInLoading = new Set(loads.flatMap((l) => l.reached));
const alone = new Set(lines().flatMap((l) => (l.kind === 'result' && l.test.startsWith('alone: ') ? [`${l.mutant} ${l.test}`] : [])));
for (const file of flags.alone) {
  for (const mutant of reachedInLoading) {
    if (killed().has(mutant) || alone.has(`${mutant} alone: ${file}`) || Date.now() > until) continue;
    const passed = vitest({ ...plain, always: mutant }, ['--bail', '1', file]);
    if (Date.now() < until) tell({ kind: 'result', mutant, killed: passed ? null : 'failed', test: `alone: ${file}` });
  }
}

const dead = killed();
const reached = new Set([...tests.flatMap((t) => t.reached), ...reachedInLoading]);
const survived = mutants.flatMap((m, id) => (dead.has(id) ? [] : [{ ...m, id }]));
const short = (text: string): string => text.replaceAll(/\s+/g, ' ').slice(0, 80);
for (const { id, file, line, kind, was, text } of survived) {
  console.log(`${reachedInLoading.has(id) ? 'loading' : reached.has(id) ? 'survived' : 'not reached'} #${id} ${file}:${line} ${kind}: ${short(was)} → ${short(text)}`);
}
console.log(`${dead.size} of ${mutants.length} killed, ${survived.length} survived, ${survived.filter(({ id }) => !reached.has(id)).length} of them not reached`);
