/**
 * @file Runs started, resumed and stopped: our own command with an array of arguments, never a shell. What was started
 * belongs to itself: it outlives the studio.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdir, open, readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { packageRoot } from '../formats/package-root.js';
import { withoutSecrets } from '../formats/url-secrets.js';
import { deferred } from '../host/resources.js';
import { readSettings } from '../runs/settings.js';
import { askToStop } from '../runs/stop.js';
import type { RunSummary } from './messages.js';
import { Refusal } from './reply.js';
import { unknown } from './run-index.js';
import type { RunIndex } from './run-index.js';
import { trainCommand } from './wish.js';
import type { Wish } from './wish.js';

export interface Launcher {
  /** Starts a run. @returns its id, by which it is listed at once */
  start(wish: Wish): Promise<string>;
  resume(id: string): Promise<void>;
  /** Checkpoint and leave; `now`: end at once. */
  stop(id: string, now: boolean): Promise<void>;
  /** Forgets a start that failed. */
  dismiss(id: string): void;
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

const environment = (): NodeJS.ProcessEnv => {
  const { ATTUNE_CHILD: _, ...rest } = process.env;
  return rest;
};

export function openLauncher(index: RunIndex): Launcher {
  const launches = new Map<string, Launch>();
  const logs = join(index.root, '.studio');
  const logOf = (id: string): string => join(logs, `${encodeURIComponent(id)}.log`);
  let planning: ChildProcess | null = null;

  async function launch(id: string, args: readonly string[], wish: Wish | null): Promise<void> {
    await mkdir(logs, { recursive: true });
    const log = await open(logOf(id), 'w');
    await using _ = deferred(() => log.close());
    const child = spawn(process.execPath, [MAIN, ...args], { detached: true, stdio: ['ignore', log.fd, log.fd], env: environment() });
    const entry: Launch = { child, began: Date.now(), wish, exit: null };
    launches.set(id, entry);
    child.on('error', () => (entry.exit = 1));
    child.on('exit', (code) => (entry.exit = code ?? 1));
    child.unref();
  }

  /** A name that no run has: the time, and the method. */
  async function freshId(wish: Wish): Promise<string> {
    const stamp = new Date().toISOString().replace(/[:.]/g, '-').slice(0, 19);
    const base = wish.name ?? `${stamp}-${wish.config.method.name.replace(/[^\w-]/g, '')}`;
    for (let n = 1; ; n++) {
      const id = n === 1 ? base : `${base}-${n}`;
      if (!launches.has(id) && !(await index.folderOf(id))) return id;
      if (wish.name !== null) throw new Refusal(409, `there is a run ${wish.name} already; choose another name`);
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
    async resume(id) {
      const folder = await index.folderOf(id);
      if (!folder) throw new Refusal(404, `there is no run ${id}`);
      const { again } = await readSettings(folder);
      if (again !== undefined) throw new Refusal(409, `this one goes on with: ${again}`);
      if (launches.get(id)?.exit === null) throw new Refusal(409, `${id} is running`);
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
    dismiss: (id) => void (launches.get(id)?.exit !== null && launches.delete(id)),
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
