/** @file Where texts go in a plot, so that they neither overlap nor leave it. */

const NARROW = /[ijl.,:;'|!ftr()[\]\s·-]/;
const WIDE = /[mwMW@%—\p{Lu}]/u;

/** The width in pixels of a text in a wide sans-serif font (DejaVu); in others it is less. */
export function textWidth(text: string, size: number): number {
  return [...text].reduce((w, c) => w + (NARROW.test(c) ? 0.37 : WIDE.test(c) ? 0.8 : 0.6), 0) * size;
}

export interface Box {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

const overlap = (a: Box, b: Box): boolean =>
  a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
const inside = (a: Box, b: Box): boolean =>
  a.left >= b.left && a.right <= b.right && a.top >= b.top && a.bottom <= b.bottom;

export interface Label {
  readonly text: string;
  /** The point it belongs to. */
  readonly x: number;
  readonly y: number;
}

export interface PlacedLabel {
  readonly text: string;
  /** Left end of the baseline. */
  readonly x: number;
  readonly y: number;
}

/** A label across more of its surroundings than this could not be read. */
const MOST_HITS = 4;

/**
 * Puts each label beside its point, where it covers the fewest of the `taken` boxes; within `limits`, and clear of the
 * labels before it. One without room is left out.
 */
export function placeLabels(labels: readonly Label[], size: number, limits: Box, taken: readonly Box[]): PlacedLabel[] {
  const placed: Box[] = [];
  return labels.flatMap(({ text, x, y }) => {
    const w = textWidth(text, size);
    const [right, left, middle] = [x + 8, x - 8 - w, x - w / 2];
    const [above, below] = [y - 8, y + size + 6];
    // The order is that of preference among places with equally many hits.
    const places: (readonly [x: number, baseline: number])[] = [
      [right, y + 4], [left, y + 4], [middle, above], [middle, below],
      [right, above], [left, above], [right, below], [left, below],
    ];
    const free = places
      .map(([at, baseline]) => ({ left: at, right: at + w, top: baseline - size, bottom: baseline + 3 }))
      .filter((box) => inside(box, limits) && !placed.some((b) => overlap(b, box)))
      .map((box) => ({ box, hits: taken.filter((b) => overlap(b, box)).length }));
    const best = free.toSorted((a, b) => a.hits - b.hits)[0];
    if (!best || best.hits > MOST_HITS) return [];
    placed.push(best.box);
    return [{ text, x: best.box.left, y: best.box.bottom - 3 }];
  });
}

/** Where a text of `width` along a level (a horizontal line at `y`) meets the fewest boxes: at its ends or middle. */
export function besideLevel(
  y: number, width: number, size: number, limits: Box, taken: readonly Box[],
): { x: number; y: number } {
  const places = [limits.right - width, limits.left + 4, (limits.left + limits.right - width) / 2]
    .flatMap((x) => [{ x, y: y - 4 }, { x, y: y + size + 2 }]).filter((p) => p.y < limits.bottom - 2);
  const hits = ({ x, y: baseline }: { x: number; y: number }): number => {
    const box = { left: x - 2, right: x + width + 2, top: baseline - size, bottom: baseline + 3 };
    return taken.filter((b) => overlap(b, box)).length;
  };
  return places.reduce((best, p) => (hits(p) < hits(best) ? p : best));
}

/** Moves heights apart so that they are `pitch` from each other and none exceeds `bottom`; the order is kept. */
export function spreadOut(heights: readonly number[], pitch: number, bottom: number): number[] {
  const order = heights.map((_, i) => i).toSorted((a, b) => heights[a]! - heights[b]!);
  const result = [...heights];
  order.forEach((i, k) => {
    if (k > 0) result[i] = Math.max(result[i]!, result[order[k - 1]!]! + pitch);
  });
  order.toReversed().forEach((i, k) => (result[i] = Math.min(result[i]!, bottom - k * pitch)));
  return result;
}
