/** @file All searches by name. */
import { bestOfN } from './best-of-n.js';
import { paths } from './paths.js';
import type { Search } from './search.js';
import { zeroOrder } from './zero-order.js';

/** In the order in which `attune list searches` shows them. */
export const SEARCHES: readonly Search<never>[] = [bestOfN, zeroOrder, paths] as unknown as readonly Search<never>[];

export function findSearch(name: string): Search<never> | undefined {
  return SEARCHES.find((s) => s.name === name);
}
