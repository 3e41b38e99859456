/** @file A sum of tensors whose bits do not depend on the order in which they come. */
import type { HostTensor } from '../graph/dtype.js';

export interface FixedSum {
  /** Takes the term number `index`, each once; its array may be written to afterwards. */
  add(index: number, term: HostTensor): void;
  /** @throws Error while terms are missing */
  total(): HostTensor;
}

/**
 * Σ over `count` float32 terms, added as a tree: 0 + 1, 2 + 3, then these two, and so on. A term waits for the one that
 * it is added to; when they come in order, no more than log₂(count) of them wait. Whoever has some neighbouring terms can
 * add them and pass on their sum alone.
 */
export function fixedSum(count: number): FixedSum {
  const waiting = new Map<string, HostTensor>();
  return {
    add(index, term) {
      let sum = term;
      let at = index;
      for (let [width, level] = [count, 0]; width > 1; width = Math.ceil(width / 2), level++, at >>= 1) {
        const neighbour = at ^ 1;
        if (neighbour >= width) continue; // the last of an odd number goes up alone
        const other = waiting.get(`${level} ${neighbour}`);
        if (!other) {
          waiting.set(`${level} ${at}`, sum);
          return;
        }
        waiting.delete(`${level} ${neighbour}`);
        const [x, y] = [other.data as Float32Array, sum.data as Float32Array];
        for (let i = 0; i < x.length; i++) x[i]! += y[i]!;
        sum = other;
      }
      waiting.set('total', sum);
    },
    total() {
      const sum = waiting.get('total');
      if (!sum) throw new Error('a sum was asked for before all of its terms were there');
      return sum;
    },
  };
}
