/**
 * @file Vitest's runner, with mutants: a file is collected once, and each of its tests runs once as it is and once for each
 * mutant that it reaches and that no test has killed yet. What a test reaches when it is repeated unchanged afterwards,
 * and does not pass, counts for nothing: a mutant left something behind.
 */
import { appendFileSync, readFileSync } from 'node:fs';
import { TestRunner } from 'vitest';
import type { RunnerTestCase } from 'vitest';

/** What the main process asks of a pass over the test files, a JSON file named by ATTUNE_MUTATE. */
export interface Pass {
  readonly mutants: number;
  /** Those to be tried; empty to look only which tests reach which mutants. */
  readonly alive: readonly number[];
  /** Tests that take longer than `from` and up to `to` milliseconds, by the look of before. */
  readonly from: number;
  readonly to: number;
  readonly milliseconds: Readonly<Record<string, number>>;
  /** A mutant that is there from the start of the process, for what files do as they are loaded. */
  readonly always: number | null;
  /** Lines of JSON are appended here, of type Line. */
  readonly log: string;
}

export type Line =
  | { readonly kind: 'loaded'; readonly file: string; readonly reached: readonly number[] }
  | { readonly kind: 'test'; readonly file: string; readonly test: string; readonly ms: number; readonly reached: readonly number[] }
  | { readonly kind: 'start'; readonly mutant: number }
  | { readonly kind: 'result'; readonly mutant: number; readonly killed: string | null; readonly test: string }
  | { readonly kind: 'void'; readonly test: string }
  | { readonly kind: 'stopped' };

/** A mutant under which a test does this many times the work that it does without is taken for an endless loop. */
const MOST_WORK = 100;

const pass = JSON.parse(readFileSync(process.env['ATTUNE_MUTATE']!, 'utf8')) as Pass;
const alive = new Set(pass.alive);
const say = (line: Line): void => appendFileSync(pass.log, `${JSON.stringify(line)}\n`);

let active = pass.always;
let reached = new Uint8Array(pass.mutants);
let work = 0;
let most = Infinity;
Object.assign(globalThis, {
  attuneMutant(id: number): boolean {
    reached[id] = 1;
    if (++work > most) throw new Error('endless loop');
    return id === active;
  },
});
const takeReached = (): number[] => {
  const ids = [...reached.keys()].filter((id) => reached[id]);
  reached = new Uint8Array(pass.mutants);
  return ids;
};

type Test = RunnerTestCase;

const nameOf = (test: Test): string => {
  const names = [test.name];
  for (let suite = test.suite; suite && suite.name; suite = suite.suite) names.unshift(suite.name);
  return `${test.file.name} > ${names.join(' > ')}`;
};

export default class MutantRunner extends TestRunner {
  onCollected(files: readonly { readonly name: string }[]): void {
    for (const { name } of files) say({ kind: 'loaded', file: name, reached: takeReached() });
  }

  async runTask(test: Test): Promise<void> {
    const run = TestRunner.getTestFn(test);
    const name = nameOf(test);
    if (pass.always !== null) return run();
    const looking = alive.size === 0;
    const known = pass.milliseconds[name] ?? Infinity;
    if (!looking && (known <= pass.from || known > pass.to)) return;
    takeReached();
    work = 0;
    const start = performance.now();
    await run();
    const once = takeReached();
    if (looking) return say({ kind: 'test', file: test.file.name, test: name, ms: performance.now() - start, reached: once });
    const normal = work;
    for (const mutant of once) {
      if (!alive.has(mutant)) continue;
      say({ kind: 'start', mutant });
      [active, work, most] = [mutant, 0, normal * MOST_WORK + 1e6];
      let killed: string | null = null;
      try {
        await run();
      } catch (error) {
        killed = String(error instanceof Error ? error.message : error).slice(0, 200);
      }
      [active, most] = [null, Infinity];
      say({ kind: 'result', mutant, killed, test: name });
      if (killed !== null) alive.delete(mutant);
    }
    try {
      await run();
    } catch (error) {
      say({ kind: 'void', test: name });
      throw error;
    }
  }
}
