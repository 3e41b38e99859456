/** @file The table of `bench/gpu.sh`. */
import type { Row } from './gpu.js';

export interface GpuReport {
  readonly machine: Readonly<Record<string, string>>;
  readonly size: number;
  readonly small: boolean;
  readonly seconds: number;
  readonly torch: Readonly<Record<string, unknown>>;
  readonly rows: readonly Row[];
}

const WHAT: Readonly<Record<string, string>> = {
  peak: 'largest product', unet: 'U-Net forward', lora: 'LoRA gradient', sample: '4 steps and decoding', 'draft-lv': 'DRaFT-LV update', 'nabla-db': '∇-DB update',
};

const gib = (bytes: number | undefined): string => (bytes === undefined ? '–' : `${(bytes / 2 ** 30).toFixed(2)}`);

/** Ours by PyTorch's best of the same work, batch and kind of numbers. */
function ratio({ spec: { work, batch, precision }, milliseconds }: Row, torch: GpuReport['torch']): string {
  const kinds = precision === 'mixed' ? ['fp16'] : ['tf32', 'fp32'];
  const theirs = Object.entries(torch).flatMap(([key, ms]) => (typeof ms === 'number' && key.startsWith(`${work} ${batch} `) && kinds.some((k) => key.includes(k)) ? [ms] : []));
  return milliseconds === undefined || theirs.length === 0 ? '–' : (milliseconds / Math.min(...theirs)).toFixed(2);
}

function line(row: Row, { rows, torch }: GpuReport): string {
  const { work, device, precision, batch } = row.spec;
  const head = [WHAT[work] ?? work, device, precision, String(batch)];
  if (row.milliseconds === undefined) return `| ${head.join(' | ')} | ${(row.absent ?? 'absent').replaceAll('|', '/')} | | | | | | | |`;
  const rate = (row.flops ?? 0) / row.milliseconds / 1e9;
  const top = rows.find((r) => r.spec.work === 'peak' && r.spec.device === device && r.spec.precision === precision);
  const share = top?.milliseconds && rate > 0 ? `${((100 * rate) / ((top.flops ?? 0) / top.milliseconds / 1e9)).toFixed(0)}%` : '–';
  const proof = row.gradientError === undefined ? '' : `, loss off by ${row.lossError!.toExponential(1)}, gradient by ${row.gradientError.toExponential(1)}, cosine ${row.cosine!.toFixed(5)}`;
  return `| ${[...head, row.milliseconds.toFixed(1) + proof, rate.toFixed(rate < 1 ? 4 : 2), share, gib(row.deviceBytes), gib(row.peakBytes), gib(row.forecastBytes),
    row.moved === undefined ? '–' : (row.moved / 2 ** 20).toFixed(2), ratio(row, torch)].join(' | ')} |`;
}

export function gpuTable(report: GpuReport): string {
  const { machine, size, small, seconds, torch, rows } = report;
  return [
    `${small ? 'The bundled model' : 'Stable Diffusion 1.5\'s architecture with random weights'} at ${size} × ${size}; ${Object.entries(machine).map(([name, value]) => `${name} ${value}`).join(', ')}; ${seconds.toFixed(0)} s in all.`, '',
    '| work | device | precision | batch | ms | TFLOP/s | of the device\'s product | device GiB | process GiB | foretold GiB | MiB moved | by PyTorch |',
    '|---|---|---|---|---|---|---|---|---|---|---|---|',
    ...rows.map((row) => line(row, report)), '',
    ...(typeof torch['absent'] === 'string' ? [`PyTorch: absent (${torch['absent']}).`, ''] : [`PyTorch: ${JSON.stringify(torch)}`, '']),
  ].join('\n');
}
