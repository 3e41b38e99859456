/** @file Errors of tracing: the operator, the shapes, and the caller's line. */
import type { Shape } from './dtype.js';

/** A mistake in building a graph: wrong shape, dtype or attribute. */
export class TraceError extends Error {
  override readonly name = 'TraceError';
}

export const describeShape = (shape: Shape): string => `[${shape.join(', ')}]`;

/** The first stack frame outside this folder: the line that called the operator. */
function callerLine(): string {
  const frames = (new Error().stack ?? '').split('\n').slice(1);
  const frame = frames.find((line) => !/[\\/]graph[\\/](?:ops[\\/]|onnx[\\/])?[\w-]+\.[jt]s/.test(line));
  return frame ? ` (${frame.trim()})` : '';
}

/** Throws a TraceError naming the operator and the line that called it. */
export function traceError(op: string, message: string): never {
  throw new TraceError(`${op}: ${message}${callerLine()}`);
}
