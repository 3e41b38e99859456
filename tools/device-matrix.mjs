/**
 * @file `node tools/device-matrix.mjs [--device webgpu] [--precision mixed] [--only WORD]... [--out FILE]`: whole programs on a
 * device against the CPU, each in a process of its own, as a table. For machines with a GPU; with a driver in software it
 * takes an hour. After `npm run build`.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import sharp from 'sharp';

const { values: flags } = parseArgs({
  options: {
    device: { type: 'string', default: 'webgpu' }, precision: { type: 'string', default: 'float32' },
    only: { type: 'string', multiple: true, default: [] }, out: { type: 'string' },
  },
});
const { device, precision } = flags;
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const { METHODS } = await import('../dist/methods/index.js');
const SMALL = ['sd1', 'sd2', 'sdxl'];

/** Runs a program of Node's. @returns its output; throws Error saying how it ended */
function run(args) {
  return new Promise((done, fail) => {
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (d) => (stdout += d));
    child.stderr.on('data', (d) => (stderr += d));
    child.on('close', (code, signal) => {
      if (code === 0) done(stdout);
      else fail(new Error(`${signal ?? `exit code ${code}`}: ${stderr.trim().split('\n').filter((line) => !line.startsWith('Warning:')).at(-1) ?? ''}`));
    });
  });
}
const attune = (...args) => run([here('../dist/cli/main.js'), ...args]);

/** What differs from run to run whatever the numbers are. */
const IDLE = /seconds|bytes|time|folder|path|file|out$|device|manifest/i;

/** Largest |difference| of numbers at the same place of two values, of the larger one or 1e-3. */
function worst(a, b, key = '') {
  if (IDLE.test(key)) return 0;
  if (typeof a === 'number' && typeof b === 'number') return Object.is(a, b) ? 0 : Math.abs(a - b) / Math.max(Math.abs(a), Math.abs(b), 1e-3);
  if (typeof a !== 'object' || a === null) return 0;
  return Math.max(0, ...Object.keys(a).map((name) => (b?.[name] === undefined ? NaN : worst(a[name], b[name], name))));
}

async function pixelsOf(path) {
  return [...await sharp(path).raw().toBuffer()];
}

const lines = (text) => text.trim().split('\n').map((line) => JSON.parse(line));
const common = (model, on) => ['--model', model, '--device', on, '--threads', '1', '--quiet'];
const small = ['--set', 'size=32', '--reward', 'symmetry', '--sampling-steps', '2'];
const brief = ['--set', 'evaluation.prompts=2', '--set', 'evaluation.images=2', '--prompts', 'animals'];
const precise = (on) => (on === 'cpu' ? [] : ['--precision', precision]);

/** What a program of the command line computes on a device, as a value that can be compared. */
const PROGRAMS = {
  async sample(model, on, out) {
    await attune('sample', ...common(model, on), ...precise(on), '--prompt', 'a cat', '--prompt', 'a dog', '--sampling-steps', '3', '--out', out, ...(model === 'emoji' ? [] : ['--size', '32']));
    return { pixels: await Promise.all(['00000.png', '00001.png'].map((name) => pixelsOf(join(out, name)))) };
  },
  eval: async (model, on) => JSON.parse(await attune('eval', ...common(model, on), ...precise(on), ...(model === 'emoji' ? small.slice(4) : small), ...brief, '--json')),
  search: async (model, on, out) => JSON.parse(await attune('search', ...common(model, on), ...precise(on), '--prompt', 'a cat', '--reward', 'symmetry', '--set', 'search.n=3', '--sampling-steps', '2', '--out', out, '--json', ...(model === 'emoji' ? [] : ['--size', '32']))),
  async train(model, on, out) {
    await attune('train', ...common(model, on), ...precise(on), ...(model === 'emoji' ? small.slice(4) : small), ...brief, '--method', 'draft-lv', '--steps', '2', '--batch', '2', '--out', out);
    return lines(await readFile(join(out, 'metrics.jsonl'), 'utf8'));
  },
  async compare(model, on, out) {
    const settings = ['--set', `device=${on}`, '--set', 'threads=1', '--set', 'batch=2', '--set', 'samplingSteps=2', ...(on === 'cpu' ? [] : ['--set', `precision=${precision}`]), ...(model === 'emoji' ? [] : ['--set', 'size=32'])];
    return JSON.parse(await attune('compare', '--model', model, '--entry', 'refl', '--entry', 'ddpo', '--seeds', '0', '--best-of', '2', '--reward', 'symmetry', ...brief, ...settings, '--budget', 'updates=1', '--out', out, '--json', '--quiet'));
  },
};

const folder = await mkdtemp(join(tmpdir(), 'attune-matrix-'));
const folders = new Map([['emoji', 'emoji']]);
async function folderOf(model) {
  if (!folders.has(model)) {
    await run([here('../tests/runtime/small-pipelines.mjs'), model, join(folder, model)]);
    folders.set(model, join(folder, model));
  }
  return folders.get(model);
}

async function program(name, model) {
  const path = await folderOf(model);
  const [cpu, other] = [await PROGRAMS[name](path, 'cpu', join(folder, `${name}-${model}-cpu`)), await PROGRAMS[name](path, device, join(folder, `${name}-${model}-${device}`))];
  if (name !== 'sample') return { error: worst(cpu, other) };
  const [a, b] = [cpu.pixels.flat(), other.pixels.flat()];
  return { error: a.reduce((most, v, i) => Math.max(most, Math.abs(v - b[i])), 0) / 255 };
}

async function update(row) {
  const [parity] = lines(await run([here('../tests/runtime/webgpu-parity.mjs'), JSON.stringify({ ...row, device, precision })]));
  const { lossError, gradientError, cosine, left } = parity;
  if (left > 0) throw new Error(`${left} buffers were not released`);
  return { error: Math.max(lossError, gradientError), cosine };
}

const rows = [
  ...SMALL.flatMap((model) => METHODS.map(({ name }) => ({ what: `update, ${name}, LoRA`, model, work: () => update({ model, method: name }) }))),
  ...SMALL.flatMap((model) => [['full', false], ['lora', true], ['full', true]].map(([train, checkpointing]) => (
    { what: `update, draft, ${train === 'full' ? 'full' : 'LoRA'}${checkpointing ? ', checkpointing' : ''}`, model, work: () => update({ model, method: 'draft', train, checkpointing }) }))),
  ...SMALL.map((model) => ({ what: 'update, refl, guided', model, work: () => update({ model, method: 'refl', guidance: 5 }) })),
  ...[...SMALL, 'emoji'].flatMap((model) => Object.keys(PROGRAMS).map((name) => ({ what: name, model, work: () => program(name, model) }))),
].filter(({ what, model }) => flags.only.length === 0 || flags.only.some((word) => `${what} ${model}`.includes(word)));

const told = [];
for (const { what, model, work } of rows) {
  const began = performance.now();
  const result = await work().catch((error) => ({ failed: error.message }));
  told.push({ what, model, device, precision, ...result, seconds: Math.round((performance.now() - began) / 1000) });
  const { error, cosine, failed, seconds } = told.at(-1);
  console.log(`| ${what} | ${model} | ${device} ${precision} | ${failed ?? error.toExponential(1)} | ${cosine === undefined ? '' : cosine.toFixed(6)} | ${seconds} s |`);
  if (flags.out) await writeFile(flags.out, JSON.stringify(told, null, 1));
}
await rm(folder, { recursive: true, force: true });
const bad = told.filter(({ failed, error, cosine }) => failed || !(precision === 'float32' ? error < 1e-3 : (cosine ?? 1) > 0.999));
console.log(`${told.length - bad.length} of ${told.length} as on the CPU`);
process.exitCode = bad.length > 0 ? 1 : 0;
