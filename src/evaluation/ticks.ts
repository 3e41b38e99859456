/** @file Axis ticks at round numbers, and how numbers are written in plots and tables. */

/** 1, 2 or 5 times a power of ten: the step that gives about `count` steps over `span`. */
function roundStep(span: number, count: number): number {
  const raw = span / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  const digit = [1, 2, 5].find((d) => d * power >= raw * 0.999) ?? 10;
  return digit * power;
}

export interface Axis {
  readonly low: number;
  readonly high: number;
  readonly ticks: readonly number[];
  /** Decimals that tell neighbouring ticks apart. */
  readonly decimals: number;
}

/**
 * An axis over `values` with about `count` ticks. It ends at ticks, or at the values themselves if `tight`. One value,
 * or none, gets a span around it.
 */
export function axis(values: readonly number[], count: number, tight = false): Axis {
  const finite = values.filter(Number.isFinite);
  let low = finite.reduce((a, b) => Math.min(a, b), Infinity);
  let high = finite.reduce((a, b) => Math.max(a, b), -Infinity);
  if (low > high) [low, high] = [0, 1];
  if (high - low <= 1e-9 * Math.max(Math.abs(low), Math.abs(high))) {
    const around = Math.abs(low) * 0.1 || 1;
    [low, high] = [low - around, high + around];
  }
  const step = roundStep(high - low, count);
  const decimals = Math.min(20, Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
  // A hair of tolerance: 0.3 / 0.1 is not 3.
  const [first, last] = tight
    ? [Math.ceil(low / step - 1e-6), Math.floor(high / step + 1e-6)]
    : [Math.floor(low / step + 1e-6), Math.ceil(high / step - 1e-6)];
  const ticks = Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toFixed(decimals)));
  return tight ? { low, high, ticks, decimals } : { low: ticks[0]!, high: ticks.at(-1)!, ticks, decimals };
}

/** A tick's text: thousands as k, millions as M, a real minus sign. */
export function tickText(value: number, decimals: number): string {
  const size = Math.abs(value);
  const [unit, suffix] = size >= 1e6 ? [1e6, 'M'] : size >= 1e4 ? [1e3, 'k'] : [1, ''];
  const text = unit === 1 ? value.toFixed(decimals) : String(Number((value / unit).toPrecision(4)));
  return text.replace(/^-(?=.*[1-9])/, '−').replace(/^-/, '') + suffix;
}

/** A measured number with `digits` significant digits, without exponents where they can be avoided. */
export function numberText(value: number, digits = 3): string {
  if (!Number.isFinite(value)) return String(value);
  if (value === 0) return '0';
  const rounded = Number(value.toPrecision(digits));
  const size = Math.abs(rounded);
  if (size >= 1e7 || size < 1e-4) return rounded.toExponential(digits - 1).replace('-', '−');
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
  return rounded.toFixed(decimals).replace('-', '−');
}
