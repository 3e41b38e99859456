/** @file Running sums. */
import { apply, literal } from '../tensor.js';
import type { Tensor } from '../tensor.js';
import { normalizeAxes } from './reduce.js';

export interface CumulativeOptions {
  /** Each element is the sum of those before it, without itself. */
  exclusive?: boolean;
  /** From the end of the axis to its start. */
  reverse?: boolean;
}

/** Running sum along an axis. */
export function cumSum(x: Tensor, axis: number, options: CumulativeOptions = {}): Tensor {
  const { exclusive = false, reverse = false } = options;
  const at = normalizeAxes('CumSum', x.rank, [axis])[0]!;
  return apply(
    {
      op: 'CumSum',
      inputs: [x, literal(at, [], 'int64')],
      attributes: { exclusive: exclusive ? 1 : 0, reverse: reverse ? 1 : 0 },
      vjps: [(g) => cumSum(g, at, { exclusive, reverse: !reverse })],
    },
    x.shape,
    x.dtype,
  );
}
