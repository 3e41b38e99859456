/**
 * @file What the studio costs: 50 runs, one of them with 100,000 points, in Chromium (time until the page can be used, frames
 * while a curve is looked at), and what a training loses that it watches. `npm run bench -- studio [--updates N] [--rounds N]`
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import type { Browser, Page } from 'playwright-core';
import { packageRoot } from '../src/formats/package-root.js';

const RUNS = 50;
const POINTS = 100_000;
const MAIN = join(packageRoot, 'dist', 'cli', 'main.js');

const line = (event: object): string => `${JSON.stringify(event)}\n`;

/** A run's folder as a run would have left it. */
function writeRun(folder: string, updates: number): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'config.yaml'), 'model: emoji\nmethod:\n  name: drtune\nrewards:\n  - quality\nsteps: 100000\nseed: 0\n');
  let time = Date.now() - updates * 1000;
  const lines = [line({ type: 'opened', time, version: 1, session: 'bench', resumed: false, attune: '0.1.0', host: 'bench', pid: 1 })];
  for (let step = 0; step <= updates; step++) {
    time += 1000;
    if (step > 0) lines.push(line({ type: 'step', time, row: { step, reward: Math.sin(step / 500) + step / updates, loss: Math.cos(step / 70), gradNorm: 1, lr: 1e-3, rewardQueries: 8 * step, denoiserCalls: 64 * step, seconds: step } }));
    if (step % Math.ceil(updates / 10) === 0) lines.push(line({ type: 'evaluation', time, best: step, row: { step, evalReward: step / updates, diversity: 0.3, rewardQueries: 8 * step, denoiserCalls: 64 * step, seconds: step } }));
  }
  writeFileSync(join(folder, 'events.jsonl'), lines.join('') + line({ type: 'ended', time, how: 'finished' }));
}

interface Opened {
  readonly url: string;
  readonly process: ChildProcess;
}

/** The studio as a user starts it, in a process of its own. */
async function startStudio(runs: string): Promise<Opened> {
  const child = spawn(process.execPath, [MAIN, 'studio', '--runs', runs, '--port', '0'], { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  for await (const part of child.stdout as AsyncIterable<Buffer>) {
    said += part.toString();
    const url = /http:\/\/\S+/.exec(said)?.[0];
    if (url) {
      child.stdout.resume();
      return { url, process: child };
    }
  }
  throw new Error(`the studio ended: ${said}`);
}

/** Milliseconds between frames while the pointer moves over a chart. */
const frames = (page: Page, selector: string): Promise<number[]> => page.evaluate(`new Promise((resolve) => {
  const at = document.querySelector(${JSON.stringify(selector)}).getBoundingClientRect();
  const over = document.querySelector(${JSON.stringify(selector)}).parentElement.querySelector('.u-over') ?? document.querySelector(${JSON.stringify(selector)});
  const gaps = [];
  let last = performance.now();
  const tick = (now) => {
    gaps.push(now - last);
    last = now;
    over.dispatchEvent(new MouseEvent('mousemove', { clientX: at.left + (gaps.length * 7) % at.width, clientY: at.top + 80, bubbles: true }));
    if (gaps.length < 180) requestAnimationFrame(tick); else resolve(gaps.slice(5));
  };
  requestAnimationFrame(tick);
})`);

const quantile = (values: readonly number[], q: number): number => values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(q * values.length))]!;
const median = (values: readonly number[]): number => quantile(values, 0.5);

async function timed(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

async function pages(browser: Browser, root: string): Promise<void> {
  for (let i = 0; i < RUNS; i++) writeRun(join(root, `run-${String(i).padStart(2, '0')}`), i === 0 ? POINTS : 200);
  const { url, process: studio } = await startStudio(root);
  try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 860 } });
    const first = await timed(() => page.goto(url).then(() => page.locator('.run').nth(RUNS - 1).waitFor()));
    const { origin } = new URL(page.url());
    const again = await timed(() => page.reload().then(() => page.locator('.run').nth(RUNS - 1).waitFor()));
    console.log(`${RUNS} runs: the list can be used after ${first.toFixed(0)} ms, the server having read no log before, and ${again.toFixed(0)} ms afterwards`);
    const drawn = async (): Promise<void> => page.locator('.chart canvas').first().waitFor();
    const run = await timed(() => page.goto(`${origin}/#/run/run-00`).then(drawn));
    const runAgain = await timed(() => page.reload().then(drawn));
    console.log(`${POINTS} points: the run can be used after ${run.toFixed(0)} ms, and ${runAgain.toFixed(0)} ms afterwards`);
    const gaps = await frames(page, '.chart canvas');
    console.log(`frames while the pointer moves over a curve: median ${median(gaps).toFixed(1)} ms, 95% within ${quantile(gaps, 0.95).toFixed(1)} ms, longest ${Math.max(...gaps).toFixed(1)} ms`);
    await page.close();
  } finally {
    studio.kill('SIGTERM');
  }
}

/** Seconds of training of a run of the bundled model. */
async function trained(folder: string, updates: number): Promise<number> {
  const child = spawn(process.execPath, [MAIN, 'train', '--method', 'draft-lv', '--steps', String(updates), '--batch', '2', '--sampling-steps', '4', '--threads', '1', '--out', folder,
    '--set', 'evaluation.every=0', '--set', 'evaluation.prompts=1', '--set', 'evaluation.images=2', '--set', 'evaluation.heldOut=null', '--set', 'evaluation.features=null', '--set', 'evaluation.sweep=[1]',
    '--set', 'evaluation.final.prompts=0', '--quiet'], { stdio: ['ignore', 'ignore', 'inherit'] });
  const code = await new Promise<number | null>((resolve) => child.once('exit', resolve));
  if (code !== 0) throw new Error(`the training ended with ${code}`);
  const rows = readFileSync(join(folder, 'metrics.jsonl'), 'utf8').trim().split('\n').map((text) => JSON.parse(text) as { seconds?: number; reward?: number });
  const seconds = rows.flatMap((row) => (row.reward === undefined ? [] : [row.seconds!]));
  // Median of an update's: what else runs on the machine disturbs single ones.
  return median(seconds.slice(1).map((s, i) => s - seconds[i]!));
}

/** Processor seconds of a process so far (Linux). */
function processorSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function watched(browser: Browser, root: string, updates: number, rounds: number): Promise<void> {
  const [alone, seen]: [number[], number[]] = [[], []];
  let [spent, wall] = [0, 0];
  for (let i = 0; i < rounds; i++) {
    alone.push(await trained(join(root, `alone-${i}`), updates));
    const { url, process: studio } = await startStudio(root);
    const page = await browser.newPage();
    await page.goto(url);
    await page.goto(`${new URL(page.url()).origin}/#/run/seen-${i}`);
    const [from, began] = [processorSeconds(studio.pid!), performance.now()];
    seen.push(await trained(join(root, `seen-${i}`), updates));
    spent += processorSeconds(studio.pid!) - from;
    wall += (performance.now() - began) / 1000;
    await page.close();
    studio.kill('SIGTERM');
  }
  const ratios = seen.map((s, i) => s / alone[i]!);
  console.log(`an update, one thread: ${alone.map((s) => s.toFixed(3)).join(', ')} s alone, ${seen.map((s) => s.toFixed(3)).join(', ')} s with the studio open on its page; median ratio ${median(ratios).toFixed(4)}`);
  console.log(`the studio's server took ${(100 * spent / wall).toFixed(2)}% of a core meanwhile`);
}

export async function benchStudio(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...args], options: { updates: { type: 'string', default: '30' }, rounds: { type: 'string', default: '3' } } });
  const root = mkdtempSync(join(tmpdir(), 'attune-bench-studio-'));
  const browser = await chromium.launch({ executablePath: process.env['ATTUNE_CHROMIUM'] ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
  try {
    await pages(browser, join(root, 'many'));
    mkdirSync(join(root, 'few'));
    await watched(browser, join(root, 'few'), Number(values.updates), Number(values.rounds));
  } finally {
    await browser.close();
    rmSync(root, { recursive: true, force: true });
  }
}
