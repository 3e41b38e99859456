/**
 * @file Signals during compute. ONNX Runtime blocks its thread while it runs, so heavy commands work in a child process
 * and this one answers signals at once: the first asks the child to write a checkpoint and leave, the second ends it.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';

const CHILD = 'ATTUNE_CHILD';
export type StopSignal = 'SIGINT' | 'SIGTERM';
/** Exit codes, as shells give them. */
export const CODES: Readonly<Record<StopSignal, number>> = { SIGINT: 130, SIGTERM: 143 };

/** Milliseconds in which signals are one wish: npx and timeout pass on what the whole group has got already. */
export const SAME_WISH = 1000;

const FAULT = ': a fault in ONNX Runtime or in a driver, not in your settings; on a GPU often one that has no memory left. '
  + '--device cpu does without a GPU, and attune doctor looks for the fault';
/** What a signal that nobody asked for tells. */
const CAUSES: Partial<Record<NodeJS.Signals, string>> = {
  SIGKILL: ' (often: out of memory)', SIGSEGV: FAULT, SIGABRT: FAULT, SIGBUS: FAULT, SIGILL: FAULT, SIGFPE: FAULT,
};

/** How a process ended that a signal took, in words. */
export const endedBy = (signal: NodeJS.Signals): string => `ended by ${signal}${CAUSES[signal] ?? ''}`;

/** What the child tells: the folder of the run that it works on. */
interface Working {
  readonly run: string;
}

/** In the child: says which run is lost if this process ends without a word. */
export const tellRun = (run: string): void => void (isChild() && process.send?.({ run } satisfies Working));

/** What is left of a run whose process is gone. */
async function remains(run: string): Promise<string> {
  const { listCheckpoints } = await import('../training/checkpoint.js'); // which this process hardly ever needs
  const saved = (await listCheckpoints(join(run, 'checkpoints'))).at(-1);
  return saved === undefined ? `; no checkpoint was saved yet, so start again: attune train --resume ${run}`
    : `; ${saved} is saved, go on from it with: attune train --resume ${run}`;
}

/** True in the process that computes. */
export const isChild = (): boolean => process.env[CHILD] === '1';

/** Runs this same command in a child process; resolves with its exit code. */
export function supervise(): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
      env: { ...process.env, [CHILD]: '1' },
      stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    });
    let asked: StopSignal | null = null;
    let first = 0;
    let run: string | null = null;
    child.on('message', (message) => ({ run } = message as Working));
    const onSignal = (signal: StopSignal): void => {
      if (asked) {
        if (performance.now() - first > SAME_WISH) child.kill('SIGKILL');
        return;
      }
      [asked, first] = [signal, performance.now()];
      process.stderr.write('\nstopping; press Ctrl-C again to stop at once\n');
      if (child.connected) child.send(signal);
    };
    process.on('SIGINT', onSignal);
    process.on('SIGTERM', onSignal);
    child.on('error', reject);
    child.on('exit', (code, signal) => {
      process.off('SIGINT', onSignal);
      process.off('SIGTERM', onSignal);
      if (asked) resolve(CODES[asked]);
      else if (signal) {
        void (run === null ? Promise.resolve('') : remains(run).catch(() => '')).then((left) => {
          process.stderr.write(`attune: the computing process was ${endedBy(signal)}${left}\n`);
          resolve(1);
        });
      } else resolve(code ?? 1);
    });
  });
}

/** The user asked to stop. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  readonly exitCode: number;

  constructor(signal: StopSignal) {
    super('interrupted');
    this.exitCode = CODES[signal];
  }
}

const stopping = new AbortController();

/** In the child: aborted, with an `Interrupted`, once the user asked to stop. All that computes is given it. */
export const stopSignal: AbortSignal = stopping.signal;

/** In the child: listens to the parent instead of to the terminal. If the parent dies, that is a wish to stop too. */
export function obeyParent(): void {
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => {});
  const stop = (signal: StopSignal): void => stopping.abort(new Interrupted(signal));
  process.on('message', (signal) => stop(signal === 'SIGTERM' ? 'SIGTERM' : 'SIGINT'));
  process.on('disconnect', () => stop('SIGTERM'));
  // The channel alone must not keep a finished command alive.
  process.channel?.unref();
}
