/** @file Reading argument values. */
import { InvalidArgumentError } from 'commander';

/** A mistake in how the command was called: exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** A finite number that is not negative. */
export function parseStrength(text: string): number {
  const value = parseNumber(text);
  if (value < 0) throw new InvalidArgumentError(`"${text}" is below 0.`);
  return value;
}

/** A finite number, in decimal or scientific notation. */
export function parseNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError(`"${text}" is not a number.`);
  return value;
}
