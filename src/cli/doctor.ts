/**
 * @file `attune doctor`: which devices work here. Each is tried in a process of its own, since drivers may end it; what
 * was found by then counts.
 */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { Command, Option } from 'commander';
import { packageVersion } from '../formats/package-root.js';
import { findMethod } from '../methods/index.js';
import { loadPipeline } from '../loading/load.js';
import { openRewards, parseReward } from '../rewards/registry.js';
import { availableDevices, DeviceError, ortVersion } from '../runtime/device.js';
import type { Device } from '../runtime/device.js';
import { installedCuda } from '../machine/installed-cuda.js';
import { hasFloat16, measureSpeed, probeOperators } from '../runtime/operator-probes.js';
import type { ProbeResult, Speed } from '../runtime/operator-probes.js';
import { fusedAttentionIsRight } from '../runtime/webgpu.js';
import { deviceParity } from '../training/device-parity.js';
import type { Parity } from '../training/device-parity.js';
import { stopSignal } from './supervise.js';

type Gpu = Exclude<Device, 'cpu'>;

/** What a process that tries a device tells, line by line. */
type Finding =
  | { readonly trying: string }
  | { readonly float16: boolean }
  | { readonly fusedAttention: boolean }
  | { readonly operator: ProbeResult }
  | { readonly speed: Speed }
  | { readonly training: Parity }
  | { readonly failed: string };

interface Examined {
  readonly device: Gpu;
  readonly float16: boolean | null;
  /** Whether ONNX Runtime's fused attention is right; where it is not, Attune puts plain products in its place. */
  readonly fusedAttention: boolean | null;
  readonly operators: readonly ProbeResult[];
  readonly speeds: readonly Speed[];
  readonly training: Parity | null;
  /** Why the examination ended early. */
  readonly failed: string | null;
  readonly works: boolean;
}

interface Flags {
  device?: Gpu;
  quick?: boolean;
  json?: boolean;
  probe?: Gpu;
}

/** Most that loss and gradients of a training step may be off, of the CPU's. */
const TOLERANCE = 1e-3;

/** In the process of its own. */
async function examineHere(device: Gpu, quick: boolean, tell: (finding: Finding) => void): Promise<void> {
  const compile = { device, signal: stopSignal };
  try {
    tell({ trying: 'the device' });
    const half = await hasFloat16(compile);
    if (device === 'webgpu') tell({ fusedAttention: await fusedAttentionIsRight() });
    for (const dtype of half ? (['float32', 'float16'] as const) : (['float32'] as const)) {
      tell({ trying: `operators in ${dtype}` });
      for await (const operator of probeOperators(dtype, compile)) tell({ operator });
    }
    tell({ float16: half });
    if (quick) return;
    tell({ trying: 'speed' });
    for (const speed of await measureSpeed(compile)) tell({ speed });
    tell({ trying: 'a training step of the bundled model' });
    const method = findMethod('refl')!;
    tell({
      training: await deviceParity({
        pipeline: await loadPipeline('emoji'), method, compile, reward: (on) => openRewards([parseReward('quality')], { compile: on }),
        adaptation: { kind: 'lora', options: { rank: 4, targets: ['to_q', 'to_k', 'to_v', 'to_out.0', 'conv1', 'conv2'] } },
        checkpointing: false, steps: 2, guidance: 1, size: 64, prompts: ['a red apple', 'a happy cat'],
      }),
    });
  } catch (error) {
    tell({ failed: error instanceof Error ? error.message.split('\n')[0]! : String(error) });
  }
}

/** Tries a device in a child process. */
function examine(device: Gpu, quick: boolean, onTrying: (what: string) => void): Promise<Examined> {
  const child = spawn(process.execPath, [...process.execArgv, process.argv[1]!, 'doctor', '--probe', device, ...(quick ? ['--quick'] : [])], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const found: Finding[] = [];
  let trying = 'the device';
  createInterface({ input: child.stdout }).on('line', (line) => {
    const finding = JSON.parse(line) as Finding;
    if ('trying' in finding) onTrying((trying = finding.trying));
    else found.push(finding);
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      const crash = code === 0 ? null : `the driver or ONNX Runtime ended the process (${signal ?? code}) at ${trying}`;
      const all = <K extends string>(key: K): Extract<Finding, Record<K, unknown>>[K & keyof Finding][] =>
        found.flatMap((f) => (key in f ? [(f as never)[key]] : []));
      const [operators, speeds, training] = [all('operator') as ProbeResult[], all('speed') as Speed[], (all('training')[0] ?? null) as Parity | null];
      const failed = (all('failed')[0] as string | undefined) ?? crash;
      const right = (p: Parity): boolean => p.lossError < TOLERANCE && p.gradientError < TOLERANCE;
      resolve({
        device, operators, speeds, training, failed,
        float16: (all('float16')[0] ?? null) as boolean | null,
        fusedAttention: (all('fusedAttention')[0] ?? null) as boolean | null,
        works: failed === null && operators.every((o) => o.dtype !== 'float32' || o.right) && (quick || (training !== null && right(training))),
      });
    });
  });
}

/** Graphics cards and drivers, as far as Linux tells without asking a driver. */
function hardware(): string[] {
  const read = (path: string): string | null => {
    try {
      return readFileSync(path, 'utf8').trim();
    } catch {
      return null;
    }
  };
  const list = (folder: string): string[] => {
    try {
      return readdirSync(folder);
    } catch {
      return [];
    }
  };
  const cards = list('/sys/class/drm').filter((name) => /^card\d+$/.test(name)).map((name) => {
    const at = `/sys/class/drm/${name}/device`;
    return `${name}: PCI ${read(`${at}/vendor`) ?? '?'}:${read(`${at}/device`) ?? '?'}`;
  });
  const nvidia = read('/proc/driver/nvidia/version')?.split('\n')[0];
  const drivers = process.env['VK_DRIVER_FILES'] ?? process.env['VK_ICD_FILENAMES']
    ?? ['/usr/share/vulkan/icd.d', '/etc/vulkan/icd.d'].flatMap(list).join(', ');
  const cuda = installedCuda();
  return [...cards, ...(nvidia ? [nvidia] : []), ...(cuda.length > 0 ? [`CUDA libraries: version ${cuda.join(' and ')} (ONNX Runtime's provider takes 12)`] : []), ...(process.platform === 'linux' ? [`Vulkan drivers: ${drivers || 'none'}`] : [])];
}

const errorText = (error: number | null): string => (error === null ? 'not computed' : error.toExponential(1));

/** What follows from the findings, for people. */
function conclusion(e: Examined): string {
  if (e.operators.length === 0) return `${e.device} cannot be used here. ${e.failed ?? ''}`;
  const wrong = e.operators.filter((o) => o.dtype === 'float32' && !o.right);
  if (e.failed !== null) return `${e.device} fails here: ${e.failed}. Use --device cpu; a newer driver may help.`;
  if (wrong.length > 0 || !e.works) {
    return `${e.device} gives wrong numbers here (${wrong.map((o) => o.name).join(', ') || 'a training step'}): use --device cpu, and please report this output.`;
  }
  const step = e.training ? ` and a training step of the bundled model (gradient within ${errorText(e.training.gradientError)})` : '';
  return `${e.device} works here: ${e.operators.filter((o) => o.dtype === 'float32').length} operators${step} agree with the CPU. Use --device ${e.device}.`;
}

function report(e: Examined): string {
  const lines = e.operators.map((o) => `  ${o.right ? 'right' : 'WRONG'}  ${o.name}, ${o.dtype}: ${o.reason ?? `off by ${errorText(o.error)}`}`);
  if (e.fusedAttention === false) lines.push('  ONNX Runtime\'s fused attention is wrong here; plain products stand in its place');
  if (e.float16 !== null) lines.push(`  half precision: ${e.float16 ? 'yes' : 'no'}`);
  lines.push(...e.speeds.map((s) => `  ${s.name}: ${s.gflops.toPrecision(3)} GFLOP/s`));
  if (e.training) {
    const { lossError, gradientError, traffic, seconds: [cpu, device] } = e.training;
    lines.push(`  training step: loss off by ${errorText(lossError)}, LoRA gradient by ${errorText(gradientError)}; ${device.toFixed(1)} s with compiling, CPU ${cpu.toFixed(1)} s`);
    lines.push(`  an update once all is compiled: ${traffic.runs} runs, ${(traffic.up / 1024).toFixed(0)} KiB to the device, ${(traffic.down / 1024).toFixed(0)} KiB back`);
  }
  return `${e.device}${lines.length === 0 ? ': nothing could be tried' : ''}\n${lines.map((line) => `${line}\n`).join('')}`;
}

async function run({ device, quick = false, json = false, probe }: Flags): Promise<void> {
  if (probe) return examineHere(probe, quick, (finding) => process.stdout.write(`${JSON.stringify(finding)}\n`));
  const build = availableDevices();
  const devices = device ? [device] : build.filter((d): d is Gpu => d !== 'cpu');
  const system = { attune: packageVersion, onnxruntime: ortVersion, node: process.version, platform: `${process.platform}-${process.arch}`, providers: build, hardware: hardware() };
  if (!json) {
    process.stdout.write(`attune ${system.attune}, ONNX Runtime ${system.onnxruntime}, Node ${system.node} on ${system.platform}\n`
      + `providers: ${build.join(', ')}\n${system.hardware.map((line) => `${line}\n`).join('')}\n`);
  }
  const examined: Examined[] = [];
  for (const d of devices) {
    examined.push(await examine(d, quick, (what) => process.stderr.write(`trying ${d}: ${what}\n`)));
    if (!json) process.stdout.write(`${report(examined.at(-1)!)}\n`);
  }
  const conclusions = ['cpu works here.', ...examined.map(conclusion)];
  process.stdout.write(json ? `${JSON.stringify({ ...system, devices: examined, conclusions })}\n` : `${conclusions.join('\n')}\n`);
  if (device && !examined[0]!.works) throw new DeviceError(conclusions[1]);
}

export function doctorCommand(): Command {
  return new Command('doctor')
    .description('Find out which devices work here: operators, speed and a training step of each against the CPU.')
    .addOption(new Option('--device <name>', 'this one alone; an error if it does not work').choices(['webgpu', 'cuda']))
    .option('--quick', 'operators only: a training step on a software driver takes minutes')
    .option('--json', 'as JSON')
    .addOption(new Option('--probe <name>').choices(['webgpu', 'cuda']).hideHelp())
    .action(run);
}
