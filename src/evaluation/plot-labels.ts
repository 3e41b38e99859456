/** @file Where texts go in a plot, so that they neither overlap nor leave it. */

const NARROW = /[ijl.,:;'|!ftr()[\]\s·−-]/;
const WIDE = /[mwMW@%—\p{Lu}]/u;

/** About the width in pixels of a text in a sans-serif font. */
export function textWidth(text: string, size: number): number {
  return [...text].reduce((w, c) => w + (NARROW.test(c) ? 0.34 : WIDE.test(c) ? 0.72 : 0.55), 0) * size;
}

export interface Box {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

const overlap = (a: Box, b: Box): boolean => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
const inside = (a: Box, b: Box): boolean => a.left >= b.left && a.right <= b.right && a.top >= b.top && a.bottom <= b.bottom;

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

/**
 * Puts each label beside its point (right, left, above or below), the first places first, where it is within `limits`
 * and clear of `taken` and of the labels before it. One without room is left out.
 */
export function placeLabels(labels: readonly Label[], size: number, limits: Box, taken: readonly Box[]): PlacedLabel[] {
  const boxes = [...taken];
  return labels.flatMap(({ text, x, y }) => {
    const w = textWidth(text, size);
    const places = [[x + 8, y + 4], [x - 8 - w, y + 4], [x - w / 2, y - 8], [x - w / 2, y + size + 6]] as const;
    for (const [left, baseline] of places) {
      const box = { left, right: left + w, top: baseline - size, bottom: baseline + 3 };
      if (!inside(box, limits) || boxes.some((b) => overlap(b, box))) continue;
      boxes.push(box);
      return [{ text, x: left, y: baseline }];
    }
    return [];
  });
}

/** Where a text of `width` along a level (a horizontal line at `y`) meets the fewest boxes: its ends, above or below. */
export function besideLevel(y: number, width: number, size: number, limits: Box, taken: readonly Box[]): { x: number; y: number } {
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
