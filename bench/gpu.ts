/** @file The parent of `bench/gpu.sh`: a process for each measurement, a time limit for each and for all, a table at the end. */
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { availableDevices, ortVersion } from '../src/runtime/device.js';
import type { Device } from '../src/runtime/device.js';
import type { Cell, CellSpec, Work } from './gpu-cell.js';
import { gpuTable } from './gpu-table.js';

export interface Row extends Partial<Cell> {
  readonly spec: CellSpec;
  /** Why there is no number. */
  readonly absent?: string;
  /** Most that the card had in use, above what it had before. */
  readonly deviceBytes?: number;
  /** Milliseconds of the same with diffusers on PyTorch, by mode. */
  readonly torch?: Readonly<Record<string, number | string>>;
}

const WORKS: readonly Work[] = ['peak', 'unet', 'lora', 'draft-lv', 'sample', 'nabla-db'];
const CELL = fileURLToPath(new URL('gpu-cell.js', import.meta.url));
const CLI = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));
const REFERENCE = fileURLToPath(new URL('../../bench/reference_gpu.py', import.meta.url));
const PYTHON = process.env['ATTUNE_PYTHON'] ?? 'python3';
const NVIDIA = 'nvidia-smi';

/** Bytes in use on the first NVIDIA card; null where there is none. */
function nvidiaUsed(): number | null {
  try {
    return Number(execFileSync(NVIDIA, ['--query-gpu=memory.used', '--format=csv,noheader,nounits'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).split('\n')[0]) * 2 ** 20;
  } catch {
    return null;
  }
}

interface Ran {
  readonly line?: string;
  readonly absent?: string;
  readonly deviceBytes?: number;
}

/** The last line that a program wrote, or why there is none. */
function ran(command: string, args: readonly string[], seconds: number): Promise<Ran> {
  const before = nvidiaUsed();
  let most = before ?? 0;
  return new Promise((done) => {
    const child = spawn(command, [...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    let [out, error, late] = ['', '', false];
    child.stdout.on('data', (data: Buffer) => (out += data.toString()));
    child.stderr.on('data', (data: Buffer) => (error += data.toString()));
    const watch = before === null ? undefined : setInterval(() => (most = Math.max(most, nvidiaUsed() ?? 0)), 500);
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
    }, 1000 * seconds);
    const end = (ended: Ran): void => {
      clearTimeout(timer);
      clearInterval(watch);
      done({ ...ended, ...(before !== null && { deviceBytes: Math.max(0, most - before) }) });
    };
    child.on('error', ({ message }) => end({ absent: message }));
    child.on('close', (code, signal) => {
      const line = out.trim().split('\n').at(-1);
      if (late) return end({ absent: `not done after ${Math.round(seconds)} s` });
      if (code === 0 && line) return end({ line });
      const said = error.split('\n').find((l) => /Error|error:/.test(l)) ?? error.trim().split('\n').at(-1) ?? '';
      return end({ absent: signal ? `ended by ${signal}` : said.slice(0, 300) || `exit code ${code}` });
    });
  });
}

const list = (text: string): string[] => text.split(',').map((s) => s.trim()).filter(Boolean);

const { values } = parseArgs({
  options: {
    small: { type: 'boolean', default: false }, proof: { type: 'boolean', default: false }, out: { type: 'string', default: '.' },
    devices: { type: 'string' }, precisions: { type: 'string', default: 'float32,mixed' }, batches: { type: 'string' },
    works: { type: 'string' }, size: { type: 'string' }, seconds: { type: 'string', default: '450' }, doctor: { type: 'boolean', default: true },
  },
  allowNegative: true,
});
const started = performance.now();
const left = (): number => Number(values.seconds) - (performance.now() - started) / 1000;
const { small, proof } = values;
const size = Number(values.size ?? (small || proof ? 64 : 512));
const devices = list(values.devices ?? availableDevices().filter((d) => d !== 'cpu').join()) as Device[];
const works = list(values.works ?? (proof ? 'draft-lv,nabla-db' : WORKS.join())) as Work[];
const batches = list(values.batches ?? (proof ? '1' : '1,4')).map(Number);

const doctor = values.doctor ? await ran(process.execPath, [CLI, 'doctor', '--quick', '--json'], Math.min(60, left() / 4)) : { absent: 'not asked for' };
// What matters most comes first: the time may run out.
const specs = batches.flatMap((batch) => works.filter((work) => work !== 'peak' || batch === batches[0]).flatMap((work) =>
  list(values.precisions).flatMap((precision) => devices.map((device): CellSpec =>
    ({ work, device, precision: precision as CellSpec['precision'], batch, size, small, ...(proof && { proof }) })))));
const rows: Row[] = [];
const dead = new Map<string, string>();
for (const spec of specs) {
  const key = `${spec.device} ${spec.precision}`;
  const limit = Math.min(proof ? left() : small ? 200 : 90, left());
  const known = dead.get(key) ?? (limit < 5 ? 'the time was up' : undefined);
  process.stderr.write(`${spec.work}, ${key}, batch ${spec.batch}${known ? `: ${known}` : ''}\n`);
  const result: Ran = known ? { absent: known } : await ran(process.execPath, [CELL, JSON.stringify(spec)], limit);
  // Where not even a product can be computed, nothing can.
  if (spec.work === 'peak' && result.absent) dead.set(key, result.absent);
  const cell = result.line ? (JSON.parse(result.line) as Cell) : {};
  rows.push({ spec, ...cell, ...(result.absent && { absent: result.absent }), ...(result.deviceBytes !== undefined && { deviceBytes: result.deviceBytes }) });
}
const torch = small || proof ? { absent: 'only beside the full size' } : left() < 20 ? { absent: 'the time was up' } : await ran(PYTHON, [REFERENCE, batches.join(), String(Math.floor(left()))], left());
const machine = { attune: 'bench/gpu.sh', onnxruntime: ortVersion, node: process.version, processor: `${cpus().length} x ${cpus()[0]?.model ?? 'unknown'}`, drivers: process.env['VK_ICD_FILENAMES'] ?? process.env['VK_DRIVER_FILES'] ?? 'the system\'s' };
const report = {
  machine, size, small, seconds: (performance.now() - started) / 1000,
  doctor: doctor.line ? (JSON.parse(doctor.line) as unknown) : doctor,
  torch: (torch.line ? JSON.parse(torch.line) : torch) as Readonly<Record<string, unknown>>, rows,
};
mkdirSync(values.out, { recursive: true });
writeFileSync(join(values.out, 'gpu.json'), `${JSON.stringify(report, null, 1)}\n`);
const table = gpuTable(report);
writeFileSync(join(values.out, 'gpu.md'), table);
process.stdout.write(table);
