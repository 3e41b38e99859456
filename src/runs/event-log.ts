/**
 * @file The one writer of a run's log. Every event is in the file, whole, when `append` returns: it writes without the
 * event loop, which ONNX Runtime may block for minutes next, and which a kill would never let come to it.
 */
import { closeSync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { tellFullDisk } from '../formats/disk-full.js';
import { eventText } from './events.js';
import type { RunEvent } from './events.js';

export const logPath = (folder: string): string => join(folder, 'events.jsonl');

export interface EventLog {
  /** @throws DiskFullError if there is no room; the log is then as before */
  append(event: RunEvent): Promise<void>;
  close(): void;
}

/**
 * Goes on with the log in a folder, or begins it. What a killed process left of a last line is closed off, and so costs
 * no other line.
 */
export async function openEventLog(folder: string): Promise<EventLog> {
  const path = logPath(folder);
  const file = await tellFullDisk(path, null, async () => openSync(path, 'a+'));
  function write(text: string): void {
    const { size } = fstatSync(file);
    const bytes = Buffer.from(endsInLine(file, size) ? text : `\n${text}`);
    try {
      for (let done = 0; done < bytes.length;) done += writeSync(file, bytes, done);
    } catch (error) {
      ftruncateSync(file, size);
      throw error;
    }
  }
  return {
    append: (event) => {
      const text = eventText(event);
      return tellFullDisk(path, Buffer.byteLength(text), async () => write(text));
    },
    close: () => closeSync(file),
  };
}

function endsInLine(file: number, size: number): boolean {
  const last = Buffer.alloc(1);
  return size === 0 || (readSync(file, last, 0, 1, size - 1) === 1 && last[0] === 10);
}
