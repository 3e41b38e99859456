/** @file PyTorch in a child process, for timing the same case in turn with ours. */
import { spawn, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { createInterface } from 'node:readline/promises';
import type { CaseSpec, Mode } from './cases.js';

const PYTHON = process.env['ATTUNE_PYTHON'] ?? 'python3';
/** The script lies beside the sources: this file runs from dist-bench/bench. */
const SCRIPT = fileURLToPath(new URL('../../bench/reference_engine.py', import.meta.url));

export interface Reference {
  /** PyTorch's version and thread count. */
  readonly description: string;
  open(spec: CaseSpec, mode: Mode): Promise<void>;
  /** Milliseconds of each of `count` runs. */
  run(count: number): Promise<number[]>;
  /** Peak memory of the case in a fresh process, without its weights and inputs; null if it cannot be measured. */
  peak(spec: CaseSpec, mode: Mode): number | null;
  close(): void;
}

/** Starts PyTorch; null if there is no python3 with torch (ATTUNE_PYTHON names another). */
export async function startReference(): Promise<Reference | null> {
  const child = spawn(PYTHON, [SCRIPT], { stdio: ['pipe', 'pipe', 'ignore'] });
  const ended = new Promise<null>((resolve) => {
    child.once('error', () => resolve(null));
    child.once('exit', () => resolve(null));
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async (): Promise<Record<string, unknown> | null> => {
    const line = await Promise.race([lines.next(), ended]);
    return line && !line.done ? (JSON.parse(line.value) as Record<string, unknown>) : null;
  };
  const ask = async (request: object): Promise<Record<string, unknown>> => {
    child.stdin.write(`${JSON.stringify(request)}\n`);
    const reply = await answer();
    if (!reply) throw new Error(`${PYTHON} ${SCRIPT} ended while answering ${JSON.stringify(request)}`);
    return reply;
  };
  const hello = await answer();
  if (!hello) return null;
  return {
    description: `PyTorch ${String(hello['version'])}, ${String(hello['threads'])} threads`,
    async open(spec, mode) {
      await ask({ do: 'open', case: spec, mode });
    },
    async run(count) {
      return (await ask({ do: 'run', count }))['milliseconds'] as number[];
    },
    peak(spec, mode) {
      const { stdout } = spawnSync(PYTHON, [SCRIPT, 'peak'], { input: `${JSON.stringify({ case: spec, mode })}\n`, encoding: 'utf8' });
      return stdout ? (JSON.parse(stdout) as { bytes: number }).bytes : null;
    },
    close: () => child.stdin.end(),
  };
}
