/** @file The valid names nearest to a mistyped one. */

/** Insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b` (optimal string alignment). */
export function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let cost = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + (same ? 0 : 1));
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) cost = Math.min(cost, beforeLast[j - 2]! + 1);
      row.push(cost);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}

/** The words of a text, of three letters or more. */
const words = (text: string): string[] => text.toLowerCase().split(/[^\p{L}\d]+/u).filter((w) => w.length > 2);

/**
 * At most `count` of `names`, the most similar first; a name that begins with the word, holds it or lies in it comes
 * early, then those that share a part with it or whose text has the word.
 *
 * @param texts what is said of the names
 */
export function nearest(
  word: string, names: readonly string[], count = 3, texts: ReadonlyMap<string, string> = new Map(),
): string[] {
  const wanted = word.toLowerCase();
  const parts = words(word);
  const distance = (name: string): number => {
    const n = name.toLowerCase();
    if (wanted.length > 1 && n.startsWith(wanted)) return 0.5;
    if (wanted.length > 2 && n.includes(wanted)) return 1;
    if (n.length > 2 && wanted.includes(n)) return 1.5;
    const edits = editDistance(wanted, n);
    const shared = words(name).some((w) => parts.includes(w));
    return shared || words(texts.get(name) ?? '').includes(wanted) ? Math.min(edits, 2) : edits;
  };
  const near = names.map((name) => ({ name, d: distance(name) })).toSorted((a, b) => a.d - b.d);
  // What needs more than half of its letters changed is no likely meaning.
  return near.filter(({ name, d }) => d <= Math.max(1, Math.max(wanted.length, name.length) / 2)).slice(0, count)
    .map(({ name }) => name);
}

/**
 * A sentence for an error message: the nearest valid names, or all of them where none is near.
 *
 * @param texts as for `nearest`
 */
export function suggestion(word: string, names: readonly string[], texts?: ReadonlyMap<string, string>): string {
  const near = nearest(word, names, 3, texts);
  if (near.length > 0) return `Did you mean ${near.join(' or ')}?`;
  return names.length > 0 ? `Valid: ${names.join(', ')}.` : 'There are none.';
}
