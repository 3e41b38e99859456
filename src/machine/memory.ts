/** @file Peak memory of this process. */
import { readFileSync, writeFileSync } from 'node:fs';

function status(field: 'VmHWM' | 'VmRSS'): number | null {
  try {
    const line = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync('/proc/self/status', 'utf8'));
    return line ? Number(line[1]) * 1024 : null;
  } catch {
    return null;
  }
}

/** Bytes resident now. */
export const residentBytes = (): number => process.memoryUsage.rss();

/** The largest number of bytes resident since `resetPeak`, or since the process began where that is not possible. */
export const peakBytes = (): number => status('VmHWM') ?? process.resourceUsage().maxRSS * 1024;

/** Starts the peak afresh. @returns false where the system cannot (anything but Linux): the peak is then the process's. */
export function resetPeak(): boolean {
  try {
    writeFileSync('/proc/self/clear_refs', '5');
    return true;
  } catch {
    return false;
  }
}
