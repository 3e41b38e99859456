/**
 * @file Runs started, resumed and stopped: our own command with an array of arguments, never a shell. What was started
 * belongs to itself: it outlives the studio.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdir, open, readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { packageRoot } from '../formats/package-root.js';
import { withoutSecrets } from '../formats/url-secrets.js';
import { deferred } from '../host/resources.js';
import { readSettings } from '../runs/settings.js';
import { askToStop } from '../runs/stop.js';
import type { Job, RunSummary } from './messages.js';
import { Refusal } from './reply.js';
import { unknown } from './run-index.js';
import type { RunIndex } from './run-index.js';
import { trainCommand } from './wish.js';
import type { Wish } from './wish.js';

export interface Launcher {
  /** Starts a run. @returns its id, by which it is listed at once */
  start(wish: Wish): Promise<string>;
  /** Starts another training of ours, which writes its log into the run that it is given. @returns its id */
  train(name: string, args: (folder: string) => readonly string[]): Promise<string>;
  resume(id: string): Promise<void>;
  /** Checkpoint and leave; `now`: end at once. */
  stop(id: string, now: boolean): Promise<void>;
  /** Starts work on a run beside its training, one of a kind at a time. @param args of the command after `attune runs` */
  work(id: string, what: Job['what'], args: readonly string[]): Promise<void>;
  /** Forgets a start that failed. */
  dismiss(id: string): void;
  /** The process of a run that was started here, until it is known as a run that runs. */
  launched(id: string): { readonly pid: number | undefined; readonly exit: number | null } | null;
  /** The runs, with what is being started and what could not be. */
  withStarting(runs: readonly RunSummary[]): Promise<RunSummary[]>;
  /** The last that the program of a run wrote that was started here; '' if there is nothing. */
  output(id: string): Promise<string>;
  /** What `attune plan --json` says of a wish. One at a time: another ends the one before. */
  plan(wish: Wish, signal: AbortSignal): Promise<{ readonly plan: unknown } | { readonly problem: string }>;
  close(): void;
}

interface Launch {
  readonly child: ChildProcess;
  readonly began: number;
  readonly wish: Wish | null;
  exit: number | null;
}

const MAIN = join(packageRoot, 'dist', 'cli', 'main.js');
/** Characters of a program's output that are read, from its end. */
const TAIL = 16_000;
const MOST_LINES = 12;
/** Milliseconds that a process may take to end after its run has. */
const ENDING = 15_000;

const environment = (): NodeJS.ProcessEnv => {
  const { ATTUNE_CHILD: _, ...rest } = process.env;
  return rest;
};

export function openLauncher(index: RunIndex): Launcher {
  const launches = new Map<string, Launch>();
  const logs = join(index.root, '.studio');
  const logOf = (id: string): string => join(logs, `${encodeURIComponent(id)}.log`);
  const jobs = new Map<string, { readonly id: string; readonly what: Job['what']; exit: number | null }>();
  let planning: ChildProcess | null = null;

  /** Our own program in a process group of its own; `ended` is told its exit code. */
  async function begin(name: string, args: readonly string[], ended: (code: number) => void): Promise<ChildProcess> {
    await mkdir(logs, { recursive: true });
    const log = await open(logOf(name), 'w');
    await using _ = deferred(() => log.close());
    const child = spawn(process.execPath, [MAIN, ...args], { detached: true, stdio: ['ignore', log.fd, log.fd], env: environment() });
    child.on('error', () => ended(1));
    child.on('exit', (code) => ended(code ?? 1));
    child.unref();
    return child;
  }

  async function launch(id: string, args: readonly string[], wish: Wish | null): Promise<void> {
    const entry: { child: ChildProcess | null; began: number; wish: Wish | null; exit: number | null } = { child: null, began: Date.now(), wish, exit: null };
    entry.child = await begin(id, args, (code) => (entry.exit = code));
    launches.set(id, entry as Launch);
  }

  const jobsOf = (id: string): Promise<Job[]> => Promise.all([...jobs].filter(([, job]) => job.id === id).map(async ([name, { what, exit }]): Promise<Job> =>
    ({ what, state: exit === null ? 'running' : exit === 0 ? 'done' : 'failed', text: exit !== null && exit !== 0 ? await lastLines(name) : (await lastLines(name)).split('\n').at(-1)!.split('\r').at(-1)! })));

  /** A name that no run has: the time, and the method. */
  async function freshId({ name, config }: Wish): Promise<string> {
    if (name === null) return freshName(config.method.name.replace(/[^\w-]/g, ''));
    if (['votes', 'prompts'].includes(name)) throw new Refusal(409, `${name} is what the studio keeps ${name} in; choose another name`);
    if (launches.has(name) || await index.folderOf(name)) throw new Refusal(409, `there is a run ${name} already; choose another name`);
    return name;
  }

  async function freshName(about: string): Promise<string> {
    const base = `${new Date().toISOString().replace(/[:.]/g, '-').slice(0, 19)}-${about}`;
    for (let n = 1; ; n++) {
      const id = n === 1 ? base : `${base}-${n}`;
      if (!launches.has(id) && !(await index.folderOf(id))) return id;
    }
  }

  const output = async (id: string): Promise<string> => withoutSecrets((await readFile(logOf(id), 'utf8').catch(() => '')).slice(-TAIL));
  const lastLines = async (id: string): Promise<string> => (await output(id)).trim().split('\n').slice(-MOST_LINES).join('\n');

  return {
    async start(wish) {
      const id = await freshId(wish);
      await launch(id, trainCommand(wish, join(relative('.', index.root) || '.', id)), wish);
      return id;
    },
    async train(name, args) {
      const id = await freshName(name);
      await launch(id, args(join(index.root, id)), null);
      return id;
    },
    async resume(id) {
      const folder = await index.folderOf(id);
      if (!folder) throw new Refusal(404, `there is no run ${id}`);
      const { again } = await readSettings(folder);
      if (again !== undefined) throw new Refusal(409, `this one goes on with: ${again}`);
      // One that has written its last word is told as stopped, and needs a moment more to end.
      const before = launches.get(id);
      for (let waited = 0; before?.exit === null && waited < ENDING; waited += 50) await delay(50);
      if (before?.exit === null) throw new Refusal(409, `${id} is running`);
      await launch(id, ['train', '--resume', relative('.', folder) || '.'], null);
    },
    async stop(id, now) {
      const folder = await index.folderOf(id) ?? (launches.has(id) ? join(index.root, id) : null);
      if (!folder) throw new Refusal(404, `there is no run ${id}`);
      const started = launches.get(id);
      try {
        await askToStop(folder, now);
      } catch (error) {
        // One that loads has not taken its folder yet.
        if (started?.exit !== null || started.child.pid === undefined) throw error;
        if (now) process.kill(-started.child.pid, 'SIGKILL');
        else started.child.kill('SIGINT');
      }
    },
    async work(id, what, args) {
      const folder = await index.folderOf(id);
      if (!folder) throw new Refusal(404, `there is no run ${id}`);
      const name = `${id}.${what}`;
      if (jobs.get(name)?.exit === null) throw new Refusal(409, `${id} has such work under way; wait for it to end`);
      const entry: { id: string; what: Job['what']; exit: number | null } = { id, what, exit: null };
      jobs.set(name, entry);
      await begin(name, ['runs', what, folder, ...args], (code) => (entry.exit = code));
    },
    dismiss: (id) => void (launches.get(id)?.exit !== null && launches.delete(id)),
    launched(id) {
      const launch = launches.get(id);
      return launch ? { pid: launch.child.pid, exit: launch.exit } : null;
    },
    async withStarting(runs) {
      const all = new Map(runs.map((run) => [run.id, run]));
      for (const [id, { began, exit, wish }] of launches) {
        const run = all.get(id);
        if (run && run.time >= began) {
          if (exit !== null) launches.delete(id);
          continue;
        }
        if (run?.state === 'running' || (exit === 0 && run)) continue;
        const text = await lastLines(id);
        if (exit === null) all.set(id, { ...(run ?? blank(id, wish)), state: 'starting', reason: null, doing: loading(text.split('\n').at(-1) ?? ''), time: began });
        else if (run) all.set(id, { ...run, reason: `could not go on: ${text}` });
        else all.set(id, { ...blank(id, wish), state: 'failed', reason: text || 'it ended without a word', time: began });
      }
      for (const id of new Set([...jobs.values()].map((job) => job.id))) {
        const run = all.get(id);
        if (run) all.set(id, { ...run, jobs: await jobsOf(id) });
      }
      return [...all.values()].toSorted((a, b) => b.time - a.time);
    },
    output,
    plan(wish, signal) {
      planning?.kill('SIGKILL');
      return new Promise((resolve) => {
        const child = spawn(process.execPath, [MAIN, ...trainCommand(wish, null), '--json', '--quiet'], { stdio: ['ignore', 'pipe', 'pipe'], env: environment() });
        planning = child;
        const end = (): void => void child.kill('SIGTERM');
        signal.addEventListener('abort', end);
        let [out, said] = ['', ''];
        child.stdout.on('data', (data: Buffer) => (out = (out + data.toString()).slice(-TAIL)));
        child.stderr.on('data', (data: Buffer) => (said = (said + data.toString()).slice(-TAIL)));
        child.on('error', (error) => (said += error.message));
        child.on('close', (code) => {
          signal.removeEventListener('abort', end);
          if (planning === child) planning = null;
          const problem = withoutSecrets(said.trim().replace(/^attune: /, '')) || 'ended before it was done';
          try {
            resolve(code === 0 ? { plan: JSON.parse(out) as unknown } : { problem });
          } catch {
            resolve({ problem });
          }
        });
      });
    },
    close: () => void planning?.kill('SIGTERM'),
  };
}

const loading = (phase: string): RunSummary['doing'] =>
  ({ phase: phase.trim() || 'starting', done: null, total: null, detail: '', secondsLeft: null, secondsPerStep: null, bytes: null });

const blank = (id: string, wish: Wish | null): RunSummary => ({
  ...unknown(id),
  ...(wish && { method: wish.config.method.name, model: wish.config.model, rewards: wish.config.rewards.map(withoutSecrets), seed: wish.config.seed, steps: wish.config.steps }),
});
