/** @file Errors of tracing: the operator, the shapes, and the caller's line. */
import type { Shape } from './dtype.js';

/** A mistake in building a graph: wrong shape, dtype or attribute. */
export class TraceError extends Error {
  override readonly name = 'TraceError';
}

export const describeShape = (shape: Shape): string => `[${shape.join(', ')}]`;

const HERE = new URL('.', import.meta.url).pathname;

/** The first stack frame in a file outside this folder: the line that called the operator. */
function callerLine(): string {
  const depth = Error.stackTraceLimit;
  // A gradient rule runs many frames below the caller of `grad`.
  Error.stackTraceLimit = 100;
  const frames = (new Error().stack ?? '').split('\n').slice(1);
  Error.stackTraceLimit = depth;
  // Array.map and its like have frames without a file.
  const frame = frames.find((line) => !line.includes(HERE) && !line.includes('(<anonymous>)'));
  return frame ? ` (${frame.trim()})` : '';
}

/** Throws a TraceError naming the operator and the line that called it. */
export function traceError(op: string, message: string): never {
  throw new TraceError(`${op}: ${message}${callerLine()}`);
}

/** A file's text or key as it may be shown in a message: short, on one line, without control characters. */
export function shown(text: string): string {
  const clean = text.slice(0, 500).replace(/[\p{C}\s]+/gu, ' ');
  return clean.length > 120 ? `${clean.slice(0, 117)}…` : clean;
}
