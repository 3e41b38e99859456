/** @file Runs the `attune` command in a process of its own. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..');

export interface Finished {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface Running {
  child: ChildProcess;
  finished: Promise<Finished>;
  /** Resolves once stderr or stdout holds this text; rejects if the process ends before. */
  until(text: string): Promise<void>;
}

/** Starts `attune` with these arguments, in its own process group so that all of it can be killed. Variables that are undefined are not set. */
export function attune(args: readonly string[], env: Readonly<Record<string, string | undefined>> = {}, cwd = ROOT): Running {
  const child = spawn(process.execPath, [join(ROOT, 'dist', 'cli', 'main.js'), ...args], {
    cwd,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ATTUNE_CHILD: '', ...env },
  });
  let [stdout, stderr] = ['', ''];
  const waiting: { text: string; resolve: () => void; reject: (e: Error) => void }[] = [];
  const heard = (): void => {
    for (const w of waiting) if (`${stdout}${stderr}`.includes(w.text)) w.resolve();
  };
  child.stdout.on('data', (d: Buffer) => {
    stdout += d.toString();
    heard();
  });
  child.stderr.on('data', (d: Buffer) => {
    stderr += d.toString();
    heard();
  });
  const finished = new Promise<Finished>((resolve) => {
    child.on('close', (code, signal) => {
      for (const w of waiting) w.reject(new Error(`ended before "${w.text}": ${stderr}`));
      resolve({ code, signal, stdout, stderr });
    });
  });
  return {
    child,
    finished,
    until: (text) => new Promise((resolve, reject) => {
      waiting.push({ text, resolve, reject });
      heard();
    }),
  };
}

/** kill -9 on the command and everything it started. */
export function killAll(running: Running): void {
  try {
    process.kill(-running.child.pid!, 'SIGKILL');
  } catch {
    // already gone
  }
}
