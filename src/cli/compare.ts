/** @file `attune compare`: methods side by side on the same prompts, noise and budget, each run in its own process. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import { stringify } from 'yaml';
import { measureBaseline } from '../comparison/baseline.js';
import { jobsOf, parseComparison } from '../comparison/config.js';
import type { Comparison, Job } from '../comparison/config.js';
import { execute } from '../comparison/execute.js';
import type { Running } from '../comparison/execute.js';
import { writeComparison } from '../comparison/report.js';
import type { Failure, Results } from '../comparison/results.js';
import { priceTable, resultTable } from '../comparison/tables.js';
import type { Table } from '../comparison/tables.js';
import { writeAtomic } from '../formats/atomic.js';
import { MOST_BYTES, readText } from '../formats/whole-file.js';
import { checkWritable } from '../formats/writable.js';
import { familyOf } from '../loading/load.js';
import { readView } from '../runs/view.js';
import { deferred, openResources } from '../host/resources.js';
import { ConfigError } from '../formats/errors.js';
import { environmentSettings, parseAssignment, readConfigFile, resolveConfig, setPath } from '../training/config.js';
import { lockFolder } from '../runs/lock.js';
import { absolutePaths } from '../training/paths.js';
import { openMeasuring } from '../training/measuring.js';
import { openRun } from '../training/stored-config.js';
import type { RunFolder } from '../runs/folder.js';
import { shownBy } from '../runs/listeners.js';
import type { Progress } from '../runs/progress.js';
import { parseNumber } from './arguments.js';
import { collect, wholeNumber } from './option-values.js';
import { endedBy, Interrupted, SAME_WISH, stopSignal } from './supervise.js';
import type { StopSignal } from './supervise.js';
import { table } from './table.js';
import { terminalProgress } from './terminal.js';

interface Flags {
  config?: string;
  out?: string;
  entry: string[];
  seeds?: number[];
  budget: string[];
  bestOf?: number[];
  threshold?: number;
  model?: string;
  reward: string[];
  prompts?: string;
  set: string[];
  jobs: number;
  force?: boolean;
  json?: boolean;
  quiet?: boolean;
}

/** Reads `[NAME=]METHOD[?setting=value&…]`: an entry with settings by their dotted names. */
export function parseEntry(text: string): [name: string, settings: Record<string, unknown>] {
  const [, given, method, query] = /^(?:([^=?]+)=)?([^=?]+)(?:\?(.*))?$/s.exec(text) ?? [];
  if (method === undefined) {
    throw new ConfigError(`--entry ${text}: write [NAME=]METHOD[?setting=value&…], such as draft-1=draft?method.k=1&lr=1e-3`);
  }
  const settings: Record<string, unknown> = {};
  const options: Record<string, unknown> = { name: method };
  for (const [path, value] of (query ? query.split('&') : []).map(parseAssignment)) {
    if (path.startsWith('method.')) options[path.slice('method.'.length)] = value;
    else settings[path] = value;
  }
  return [given ?? method, nested({ ...settings, method: options })];
}

/** Dotted names as sections. */
function nested(flat: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const tree: Record<string, unknown> = {};
  for (const [path, value] of Object.entries(flat)) setPath(tree, path, value);
  return tree;
}

/** Settings of all entries from the environment and from flags, the later winning. */
function givenSettings(flags: Flags): [string, unknown][] {
  const { model, prompts, reward, set, jobs } = flags;
  return [
    ...environmentSettings(process.env),
    ...Object.entries({ model, prompts }).filter(([, value]) => value !== undefined),
    ...(reward.length > 0 ? [['rewards', reward] satisfies [string, unknown]] : []),
    ...set.map(parseAssignment),
    // Several runs at a time with several threads each would only fight.
    ...(jobs > 1 ? [['threads', 1] satisfies [string, unknown]] : []),
  ];
}

/** The comparison of file, environment and flags, the later winning. @throws ConfigError naming the field */
async function comparisonOf(flags: Flags): Promise<Comparison> {
  const file = flags.config === undefined ? {} : await readConfigFile(flags.config);
  const entries = { ...(file['entries'] as object | undefined), ...Object.fromEntries(flags.entry.map(parseEntry)) };
  const settings = structuredClone((file['settings'] ?? {}) as Record<string, unknown>);
  for (const [path, value] of givenSettings(flags)) setPath(settings, path, value);
  return parseComparison({
    ...file,
    settings,
    entries,
    ...(flags.seeds && { seeds: flags.seeds }),
    ...(flags.budget.length > 0 && { budget: Object.fromEntries(flags.budget.map(parseAssignment)) }),
    ...(flags.bestOf && { bestOf: flags.bestOf }),
    ...(flags.threshold !== undefined && { threshold: flags.threshold }),
  });
}

/** Some runs of a comparison failed; what happened was told when it did. */
class FailedRunsError extends Error {
  override readonly name = 'FailedRunsError';
}

/** What went wrong with a run: as its log of events has it, or (one that never began) the last lines that it told. */
async function complaint(folder: string, began: number): Promise<string> {
  const log = `${folder}.log`;
  const ended = await readView(folder, { skim: true }).then((view) => view?.ended, () => null);
  if (ended?.how === 'error' && ended.time >= began) return `${ended.reason} (log: ${log})`;
  const lines = (await readText(log, MOST_BYTES.log).catch(() => '')).trim().split('\n');
  const at = lines.findLastIndex((line) => line.startsWith('attune: '));
  return (at < 0 ? lines.slice(-1) : lines.slice(at, at + 1)).join(' ').replace('attune: ', '') + ` (log: ${log})`;
}

/** The command of a run whose configuration lies beside its folder. Only what goes on can be forced to. */
export function runArguments({ kind }: Pick<Job, 'kind'>, folder: string, { resume, force }: { resume: boolean; force: boolean }): string[] {
  const anew = ['--config', `${folder}.yaml`, '--out', folder];
  const forced = force && resume ? ['--force'] : [];
  if (kind.name === 'train') return ['train', ...(resume ? ['--resume', folder] : anew), ...forced];
  return ['compare', 'baseline', ...anew, '--n', String(kind.name === 'best-of' ? kind.n : 1), ...forced];
}

/** Starts runs as processes: memory is each one's own, and a message stops them, not the terminal's signal. */
function launcher(root: string, children: Set<ChildProcess>, force: boolean): (job: Job, resume: boolean) => Running {
  return (job, resume) => {
    const folder = join(root, job.folder);
    let child: ChildProcess | null = null;
    let stopped = false;
    const stop = (): void => {
      stopped = true;
      if (child?.connected) child.send('SIGINT');
    };
    async function run(): Promise<string | null> {
      const config = `${folder}.yaml`;
      await writeAtomic(config, stringify(job.config));
      const args = runArguments(job, folder, { resume, force });
      // The configuration holds what the environment says already.
      const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('ATTUNE_SET_'));
      if (stopped) return null;
      const log = await open(`${folder}.log`, 'a');
      const began = Date.now();
      let code: number | null;
      let signal: NodeJS.Signals | null;
      try {
        const started = spawn(process.execPath, [...process.execArgv, process.argv[1]!, ...args], {
          env: { ...Object.fromEntries(inherited), ATTUNE_CHILD: '1' },
          stdio: ['ignore', log.fd, log.fd, 'ipc'],
          detached: true,
        });
        child = started;
        children.add(started);
        [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
          started.on('error', reject);
          started.on('exit', (...end) => resolve(end));
        }).finally(() => children.delete(started));
      } finally {
        await log.close();
      }
      if (signal) return endedBy(signal);
      return code === 0 ? null : complaint(folder, began);
    }
    return { finished: run().catch((error: unknown) => String(error)), stop };
  };
}

async function compare(flags: Flags): Promise<void> {
  const progress = terminalProgress(flags.quiet === true);
  const comparison = await comparisonOf(flags);
  const { model, like } = jobsOf(comparison)[0]!.config; // mistakes are told before a model is looked at
  const jobs = jobsOf(comparison, await familyOf(model, like)).map((job) => ({ ...job, config: absolutePaths(job.config) }));
  const root = flags.out ?? join('runs', `${new Date().toISOString().replace(/[:.]/g, '-').slice(0, 19)}-compare`);
  await checkWritable(root, 'folder');
  await mkdir(root, { recursive: true });
  const lock = await lockFolder(root, progress.warn);
  await using _ = deferred(() => lock.release());
  await runAll(comparison, jobs, root, flags, progress);
}

async function runAll(comparison: Comparison, jobs: readonly Job[], root: string, flags: Flags, progress: Progress): Promise<void> {
  const children = new Set<ChildProcess>();
  const stopping = new AbortController();
  let asked: StopSignal | null = null;
  let first = 0;
  const onSignal = (signal: StopSignal): void => {
    if (asked) {
      if (performance.now() - first > SAME_WISH) for (const child of children) child.kill('SIGKILL');
      return;
    }
    process.stderr.write('\nstopping; press Ctrl-C again to stop at once\n');
    [asked, first] = [signal, performance.now()];
    stopping.abort();
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  let failures: Failure[];
  try {
    failures = await execute(jobs, {
      root, lanes: flags.jobs, start: launcher(root, children, flags.force === true), progress, signal: stopping.signal,
    });
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
  await writeAtomic(join(root, 'compare.yaml'), stringify(comparison));
  const command = ['attune', ...process.argv.slice(2)].map((a) => (/^[\w./=:,+-]+$/.test(a) ? a : `'${a}'`)).join(' ');
  const results = await writeComparison(comparison, jobs, root, failures, command, progress.warn);
  if (asked) {
    progress.phase(`stopped; go on with the same command and --out ${root}`);
    throw new Interrupted(asked);
  }
  process.stdout.write(flags.json ? `${JSON.stringify({ folder: root, ...results })}\n` : told(results, root));
  if (failures.length > 0) {
    throw new FailedRunsError(`${failures.length} of ${jobs.length} runs failed; the report has the others`);
  }
}

function told(results: Results, root: string): string {
  const price = priceTable(results);
  const lines = ({ head, rows }: Table): string[] => table([head, ...rows]);
  return [
    ...lines(resultTable(results, (e) => e.last)),
    ...(price ? ['', `To reach a reward of ${results.price!.target.toPrecision(4)}:`, ...lines(price)] : []),
    '', `Report ${join(root, 'report.html')}`, '',
  ].join('\n');
}

const numbers = (text: string): number[] => text.split(',').map(wholeNumber(0));

/** What `compare` runs for the entries that need no training. */
function baselineCommand(): Command {
  return new Command('baseline')
    .requiredOption('--config <file>', 'configuration of a run')
    .requiredOption('--out <dir>', 'run folder')
    .option('--n <n>', 'samples for each image', wholeNumber(1), 1)
    .option('--force')
    .action(async ({ config: file, out, n, force = false }: { config: string; out: string; n: number; force?: boolean }) => {
      const config = absolutePaths(resolveConfig(await readConfigFile(file), []));
      const progress = terminalProgress(false);
      const resume = await readText(join(out, 'config.yaml'), MOST_BYTES.settings).then(() => true, () => false);
      await using resources = openResources();
      const wish = new AbortController();
      const signal = AbortSignal.any([wish.signal, stopSignal]);
      let folder: RunFolder | null = null;
      try {
        folder = await openRun(out, config, {
          resume, listeners: [shownBy(progress)], warn: progress.warn, onStop: () => wish.abort(new Interrupted('SIGTERM')),
        });
        resources.use({ release: folder.close });
        const measuring = resources.use(await openMeasuring(config, folder.progress, {}, signal));
        await folder.begin(measuring.manifest, force);
        await measureBaseline(measuring, folder, n);
      } catch (error) {
        await folder?.stop(error === signal.reason ? null : error);
        throw error;
      }
    });
}

export function compareCommand(): Command {
  return new Command('compare')
    .description('Compare methods on the same prompts, noise and budget, over several seeds. Resumable; one report.')
    .option('--config <file>', 'the comparison as YAML: settings, entries, seeds, budget')
    .option('--entry <spec>', '[NAME=]METHOD[?setting=value&…] (repeatable), e.g. draft-1=draft?method.k=1', collect, [])
    .option('--seeds <list>', 'such as 0,1,2 (the default)', numbers)
    .option('--budget <limit>', 'updates=N, rewardQueries=N or seconds=N of each run (repeatable)', collect, [])
    .option('--best-of <list>', 'baselines that keep the best of n samples (default: 8)', numbers)
    .option('--threshold <reward>', 'report what it costs to reach this reward', parseNumber)
    .option('--model <name>', 'of all entries')
    .option('--reward <spec>', 'of all entries; repeat to sum several', collect, [])
    .option('--prompts <name>', 'of all entries')
    .option('--set <key=value>', 'any setting of all entries by its dotted name (repeatable)', collect, [])
    .option('--out <dir>', 'folder of the comparison; with the same one an interrupted comparison goes on')
    .option('--force', 'go on with runs though model, rewards, prompts, programs or processor have changed since; the change is written down')
    .option('--jobs <n>', 'runs at a time; each has one thread if there are several', wholeNumber(1), 1)
    .option('--json', 'the results as JSON')
    .option('--quiet', 'no progress')
    .addHelpText('after', '\nExample:\n  attune compare --entry draft-lv --entry refl --budget updates=20 --out runs/two')
    .enablePositionalOptions() // what follows `baseline` is its own
    .addCommand(baselineCommand(), { hidden: true })
    .action(compare);
}
