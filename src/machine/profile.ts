/** @file Where an executable's time and memory go: an operator profile of a few runs, and their peak memory. */
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeShape } from '../graph/errors.js';
import { deferred } from '../host/resources.js';
import { compile } from '../runtime/compile.js';
import type { Executable, Feeds } from '../runtime/compile.js';
import { labelOf, nodesByName } from '../runtime/label.js';
import { peakBytes, residentBytes, resetPeak } from './memory.js';

export interface OperatorTime {
  /** An operator type, or one operator with the inputs it reads. */
  name: string;
  /** Per run. */
  milliseconds: number;
  /** Per run. */
  calls: number;
  /** Of all operators' time. */
  share: number;
}

export interface Profile {
  /** One run, operators and what lies between them. */
  milliseconds: number;
  byType: OperatorTime[];
  byOperator: (OperatorTime & { inputShapes: string })[];
  /**
   * Resident memory during the runs above what was resident before the session was opened: activations and what the
   * session keeps, without weights that are fed. Null where the system does not tell (anything but Linux).
   */
  peakBytes: number | null;
}

/** What we use of a line of ONNX Runtime's trace. */
interface TraceEvent {
  cat: string;
  name: string;
  ts: number;
  dur: number;
  args?: { op_name?: string; input_type_shape?: Readonly<Record<string, number[]>>[] };
}

function ranked<T extends OperatorTime>(times: Iterable<T>, runs: number): T[] {
  const list = [...times];
  const total = list.reduce((sum, t) => sum + t.milliseconds, 0);
  for (const t of list) {
    t.share = t.milliseconds / total;
    t.milliseconds /= runs;
    t.calls /= runs;
  }
  return list.toSorted((a, b) => b.milliseconds - a.milliseconds);
}

function summarise(events: readonly TraceEvent[], runs: number, labels: ReadonlyMap<string, string>): Omit<Profile, 'peakBytes'> {
  const modelRuns = events.filter((e) => e.name === 'model_run').toSorted((a, b) => a.ts - b.ts).slice(-runs);
  const start = modelRuns[0]?.ts ?? 0;
  const byType = new Map<string, OperatorTime>();
  const byOperator = new Map<string, OperatorTime & { inputShapes: string }>();
  for (const event of events) {
    if (event.cat !== 'Node' || !event.name.endsWith('_kernel_time') || event.ts < start) continue;
    const type = event.args?.op_name ?? 'unknown';
    // A fused operator is named after one of its parts: Conv_48/…Fusion.
    const node = event.name.slice(0, -'_kernel_time'.length);
    const name = `${type} ${labels.get(node) ?? labels.get(node.split('/')[0]!) ?? node}`;
    const inputShapes = (event.args?.input_type_shape ?? []).map((t) => describeShape(Object.values(t)[0] ?? [])).join(' ');
    const entries = [
      byType.get(type) ?? { name: type, milliseconds: 0, calls: 0, share: 0 },
      byOperator.get(name) ?? { name, inputShapes, milliseconds: 0, calls: 0, share: 0 },
    ] as const;
    for (const entry of entries) {
      entry.milliseconds += event.dur / 1000;
      entry.calls += 1;
    }
    byType.set(type, entries[0]);
    byOperator.set(name, entries[1]);
  }
  return {
    milliseconds: modelRuns.reduce((sum, e) => sum + e.dur / 1000, 0) / runs,
    byType: ranked(byType.values(), runs),
    byOperator: ranked(byOperator.values(), runs),
  };
}

/**
 * Opens a second session of the same computation with profiling, runs it once to warm up and `runs` times to measure.
 * The operators are those that ONNX Runtime really runs, after its own fusions.
 */
export async function profile(executable: Executable, feeds: Feeds, runs = 3): Promise<Profile> {
  const { graph, options } = executable;
  const folder = await mkdtemp(join(tmpdir(), 'attune-profile-'));
  await using _ = deferred(() => rm(folder, { recursive: true, force: true }));
  const before = residentBytes();
  const canReset = resetPeak();
  const session = { ...options.session, enableProfiling: true, profileFilePrefix: join(folder, 'trace') };
  const twin = await compile(graph, { ...options, session });
  for (let i = 0; i <= runs; i++) await twin.run(feeds);
  const peak = canReset ? peakBytes() - before : null;
  twin.session.endProfiling();
  await twin.release();
  const [file] = await readdir(folder);
  const events = JSON.parse(await readFile(join(folder, file!), 'utf8')) as TraceEvent[];
  const labels = new Map([...nodesByName(twin.compiled)].map(([name, node]) => [name, labelOf(node)]));
  return { ...summarise(events, runs, labels), peakBytes: peak };
}

/** The profile as a table, the `rows` slowest operators of each list. */
export function formatProfile(p: Profile, rows = 12): string {
  const line = (t: OperatorTime): string =>
    `${t.milliseconds.toFixed(2).padStart(9)} ms ${(100 * t.share).toFixed(1).padStart(5)}% x${t.calls}  ${t.name}`;
  const peak = p.peakBytes === null ? '' : `, peak memory ${(p.peakBytes / 2 ** 20).toFixed(0)} MiB`;
  return [
    `${p.milliseconds.toFixed(2)} ms a run${peak}`,
    'by operator type',
    ...p.byType.slice(0, rows).map(line),
    'by operator',
    ...p.byOperator.slice(0, rows).map((t) => `${line(t)}  ${t.inputShapes}`),
  ].join('\n');
}
