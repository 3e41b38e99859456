/**
 * @file `bench train [FILTER]`: one update of each method on the bundled model: seconds, their breakdown, peak memory;
 * DRaFT's cost against K and against the batch; and the ratio to the same DRaFT-LV update in PyTorch (ATTUNE_PYTHON with
 * torch, diffusers, transformers and peft), measured in turn with ours.
 *
 * Each case runs in a process of its own, on one thread unless ATTUNE_BENCH_THREADS says otherwise.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline/promises';
import { fileURLToPath } from 'node:url';
import type { HostTensor } from '../src/graph/dtype.js';
import type { UpdateRule } from '../src/methods/method.js';
import type { Task } from '../src/methods/task.js';
import { emoji } from '../src/loading/bundled.js';
import { unetLora } from '../src/models/families/unet.js';
import { peakBytes } from '../src/machine/memory.js';
import { initAdamW, updateAdamW } from '../src/training/adamw.js';
import { resolveConfig } from '../src/training/config.js';
import { clipNorm } from '../src/training/parameters.js';
import { drawPrompts } from '../src/training/prompts.js';
import { openSession } from '../src/training/session.js';

const THREADS = Number(process.env['ATTUNE_BENCH_THREADS'] ?? 1);
const PYTHON = process.env['ATTUNE_PYTHON'] ?? 'python3';
const UPDATES = 5;
/** As reference_train.py has it. */
const COMMON = { guidance: 2, rewards: ['emoji-clip'], 'lora.targets': [...unetLora.attention] };

/** Settings of a case beside the main job's; all with emoji-clip as the reward, a LoRA on attention and guidance 2. */
export interface Case {
  readonly name: string;
  readonly settings: Readonly<Record<string, unknown>>;
}

const method = (name: string, options: Readonly<Record<string, unknown>> = {}): Readonly<Record<string, unknown>> => ({
  'method.name': name, ...Object.fromEntries(Object.entries(options).map(([k, v]) => [`method.${k}`, v])),
});

const CASES: readonly Case[] = [
  { name: 'draft-lv', settings: method('draft-lv') },
  { name: 'draft k=1', settings: method('draft', { k: 1 }) },
  { name: 'draft k=4', settings: method('draft', { k: 4 }) },
  { name: 'draft, all steps', settings: method('draft', { k: 'all' }) },
  { name: 'refl', settings: method('refl') },
  { name: 'alignprop', settings: method('alignprop') },
  { name: 'drtune', settings: method('drtune') },
  { name: 'flowbp-sparse', settings: method('flowbp-sparse') },
  { name: 'srpo', settings: method('srpo') },
  { name: 'nabla-db', settings: method('nabla-db') },
  { name: 'nabla-db, no flow', settings: method('nabla-db', { flow: false }) },
  { name: 'nabla-db, full reverse', settings: method('nabla-db', { reverseGradient: 'full' }) },
  { name: 'rsm', settings: method('rsm') },
  { name: 'adjoint-matching', settings: method('adjoint-matching') },
  { name: 'ddpo', settings: method('ddpo') },
  { name: 'grpo', settings: method('grpo') },
  { name: 'nft', settings: method('nft') },
  { name: 'awm', settings: method('awm') },
  { name: 'd3po', settings: method('d3po') },
  { name: 'dpo', settings: method('dpo') },
  { name: 'sharpen-sft', settings: method('sharpen-sft') },
  { name: 'sharpen-rlhf', settings: method('sharpen-rlhf') },
  { name: 'draft-lv, batch 2', settings: { ...method('draft-lv'), batch: 2 } },
  { name: 'draft-lv, batch 4', settings: { ...method('draft-lv'), batch: 4 } },
  { name: 'draft-lv, batch 16', settings: { ...method('draft-lv'), batch: 16 } },
];

/** Seconds by what they were spent on. */
interface Spent {
  sampling: number;
  /** Scores, and their gradients, of samples that are there already. */
  reward: number;
  /** A network call, the reward of where it leads and the way back through both, in one graph. */
  rewarded: number;
  backward: number;
  optimiser: number;
}

interface Result {
  /** Of each update, the first (cold) round left out. */
  readonly seconds: readonly number[];
  readonly spent: Spent;
  readonly peakBytes: number | null;
}

/** The task, with the time of every executable and of the reward accounted for. */
function watched(task: Task, spent: Spent): Task {
  const timed = async <T>(what: keyof Spent, f: () => Promise<T>): Promise<T> => {
    const began = performance.now();
    const result = await f();
    spent[what] += (performance.now() - began) / 1000;
    return result;
  };
  return {
    ...task,
    async compile(outputs, facts) {
      const executable = await task.compile(outputs, facts);
      const backward = Object.keys(outputs).some((name) => name.startsWith('grad/') || name === 'pulled');
      const what = 'extra/score' in outputs ? 'rewarded' : backward ? 'backward' : 'sampling';
      return { ...executable, run: (feeds, prompts) => timed(what, () => executable.run(feeds, prompts)) };
    },
    reward: {
      ...task.reward,
      score: (x, p) => timed('reward', () => task.reward.score(x, p)),
      gradient: (x, p) => timed('reward', () => task.reward.gradient(x, p)),
    },
  };
}

const silent = { phase: () => {}, step: () => {}, warn: () => {} };

/** A method at work, an update at a time. */
export async function openCase({ settings }: Case) {
  const config = resolveConfig({}, Object.entries({ threads: THREADS, ...settings, ...COMMON, 'evaluation.heldOut': null, 'evaluation.features': null }));
  const session = await openSession(config, silent);
  const spent: Spent = { sampling: 0, reward: 0, rewarded: 0, backward: 0, optimiser: 0 };
  const { task } = session;
  const rule: UpdateRule = await session.method.create(watched(task, spent), session.methodOptions);
  const groups = [task.parameters, ...(rule.own ? [rule.own.parameters] : [])];
  const states = groups.map((g) => initAdamW(g));
  /** Runs a round; seconds of each of its updates. */
  const round = async (index: number): Promise<number[]> => {
    const prompts = drawPrompts(session.prompts, config.seed, index, config.batch);
    const seconds: number[] = [];
    let began = performance.now();
    for await (const { gradients } of rule.round(prompts, index)) {
      const at = performance.now();
      groups.forEach((group, i) => {
        const own = new Map([...group.keys()].map((name): [string, HostTensor] => [name, gradients.get(name)!]));
        clipNorm(own, 1);
        updateAdamW(group, own, states[i]!, config.lr);
      });
      spent.optimiser += (performance.now() - at) / 1000;
      seconds.push((performance.now() - began) / 1000);
      began = performance.now();
    }
    return seconds;
  };
  return { round, spent, release: () => session.release() };
}

async function measure(found: Case): Promise<Result> {
  const { round, spent } = await openCase(found);
  await round(0);
  for (const key of Object.keys(spent) as (keyof Spent)[]) spent[key] = 0;
  const seconds: number[] = [];
  for (let i = 1; seconds.length < UPDATES; i++) seconds.push(...(await round(i)));
  return { seconds, spent, peakBytes: peakBytes() };
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

/** PyTorch with the DRaFT-LV update of the main job, an update for each `step`, in seconds; null where there is none. */
export async function openPyTorch(threads: number): Promise<{ readonly name: string; step(): Promise<number>; end(): void } | null> {
  const script = fileURLToPath(new URL('../../bench/reference_train.py', import.meta.url));
  const { samplingSteps } = resolveConfig({}, []);
  const child = spawn(PYTHON, [script, emoji.folder, String(threads), String(samplingSteps)], { stdio: ['pipe', 'pipe', 'ignore'] });
  const ended = new Promise<null>((resolve) => {
    child.once('error', () => resolve(null));
    child.once('exit', () => resolve(null));
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async (): Promise<string | null> => {
    const line = await Promise.race([lines.next(), ended]);
    return line && !line.done ? line.value : null;
  };
  const hello = await answer();
  if (hello === null) return null;
  return {
    name: hello,
    step: () => {
      child.stdin.write('step\n');
      return answer().then(Number);
    },
    end: () => child.stdin.end(),
  };
}

/** PyTorch's update and ours in turn: the ratio of medians. */
async function againstPyTorch(): Promise<string> {
  const torch = await openPyTorch(THREADS);
  if (!torch) return `no PyTorch: ${PYTHON} has no torch, diffusers, transformers and peft (ATTUNE_PYTHON names another)`;
  const { round } = await openCase(CASES[0]!);
  await round(0);
  const [ours, theirs]: [number[], number[]] = [[], []];
  for (let i = 1; i <= UPDATES + 1; i++) {
    ours.push(...(await round(i)));
    theirs.push(await torch.step());
  }
  torch.end();
  const [a, b] = [median(ours.slice(1)), median(theirs.slice(1))];
  return `draft-lv update against ${torch.name}, ${THREADS} thread(s), in turn: ours ${a.toFixed(2)} s, PyTorch ${b.toFixed(2)} s, ratio ${(a / b).toFixed(2)}`;
}

export async function benchTrain([filter = '']: readonly string[]): Promise<void> {
  const columns = ['case', 's/update', 'spread', 'sampling', 'reward', 'rewarded', 'backward', 'optimiser', 'rest', 'peak MiB'];
  const show = (cells: readonly string[]): void => console.log(cells.map((c, i) => (i === 0 ? c.padEnd(24) : c.padStart(10))).join(''));
  show(columns);
  for (const found of CASES.filter((c) => c.name.includes(filter))) {
    const { stdout, stderr, status } = spawnSync(process.execPath, [fileURLToPath(import.meta.url), JSON.stringify(found)], { encoding: 'utf8' });
    if (status !== 0) {
      console.log(`${found.name.padEnd(24)}  failed: ${stderr.trim().split('\n').at(-1)}`);
      continue;
    }
    const { seconds, spent, peakBytes: peak } = JSON.parse(stdout) as Result;
    const total = seconds.reduce((a, b) => a + b, 0);
    const share = (part: number): string => `${((100 * part) / total).toFixed(0)}%`;
    const rest = total - Object.values(spent).reduce((a, b) => a + b, 0);
    show([
      found.name, median(seconds).toFixed(2), `±${((Math.max(...seconds) - Math.min(...seconds)) / 2).toFixed(2)}`,
      share(spent.sampling), share(spent.reward), share(spent.rewarded), share(spent.backward), share(spent.optimiser), `${((100 * rest) / total).toFixed(1)}%`,
      peak === null ? '?' : (peak / 2 ** 20).toFixed(0),
    ]);
  }
  if ('draft-lv'.includes(filter)) console.log(await againstPyTorch());
}

const argument = process.argv[2];
if (argument?.startsWith('{') && process.argv[1] === fileURLToPath(import.meta.url)) {
  process.stdout.write(JSON.stringify(await measure(JSON.parse(argument) as Case)));
}
