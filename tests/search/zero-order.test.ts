import { expect, test } from 'vitest';
import { normal } from '../../src/random/random.js';
import { openExplorer } from '../../src/search/explorer.js';
import type { SearchResult } from '../../src/search/search.js';
import { neighbour, zeroOrder } from '../../src/search/zero-order.js';
import { tinyTask } from '../methods/tiny-task.js';

const dot = (a: Float32Array, b: Float32Array): number => a.reduce((sum, v, i) => sum + v * b[i]!, 0);

test.each([0.95, 0.5, 0, -0.3])('neighbours keep the norm and have the cosine %s', (cosine) => {
  const pivot = normal({ seed: 1, stream: 'pivot', step: 0 }, 0, 16384).map((v) => v * 3);
  for (let k = 0; k < 4; k++) {
    const made = neighbour(pivot, normal({ seed: 1, stream: 'direction', step: 0 }, k, 16384), cosine);
    const norms = Math.sqrt(dot(made, made) * dot(pivot, pivot));
    expect(Math.sqrt(dot(made, made) / dot(pivot, pivot))).toBeCloseTo(1, 7);
    expect(dot(made, pivot) / norms).toBeCloseTo(cosine, 7);
  }
});

async function search(options: object, seed = 5): Promise<SearchResult> {
  const task = await tinyTask({ steps: 4, batch: 4, seed });
  const explorer = await openExplorer(task);
  const result = await zeroOrder.run(explorer, zeroOrder.options.parse(options), { prompts: ['a cat'], items: [0] });
  await explorer.release();
  return result;
}

test('every round is about the best so far, whose score so never falls', async () => {
  let kept = 0;
  for (const seed of [1, 2, 3]) {
    const [trace] = (await search({ rounds: 6, neighbours: 2, cosine: 0.7 }, seed)).traces;
    let best = trace![0]!;
    for (let round = 0; round < 6; round++) {
      const tried = trace!.filter((t) => t.round === round && t.parent !== null);
      expect(tried).toHaveLength(2);
      expect(tried.map((t) => t.parent)).toEqual([best.candidate, best.candidate]);
      const next = [best, ...tried].reduce((a, b) => (b.score > a.score ? b : a));
      kept += next === best ? 1 : 0;
      best = next;
    }
    expect(best.candidate).not.toBe(0); // something better was found
  }
  expect(kept).toBeGreaterThan(0); // and the pivot was kept at times
});

test('with fresh restarts a round without a better neighbour is followed by new noise', async () => {
  let restarts = 0;
  for (const seed of [1, 2, 3]) {
    const result = await search({ rounds: 6, neighbours: 2, cosine: 0.7, restart: 'fresh' }, seed);
    const [trace] = result.traces;
    let pivot = trace![0]!;
    for (let round = 0; round < 5; round++) {
      const own = trace!.filter((t) => t.round === round);
      const best = [pivot, ...own].reduce((a, b) => (b.score > a.score ? b : a));
      const next = trace!.filter((t) => t.round === round + 1);
      const start = next.find((t) => t.parent === null);
      expect(start !== undefined).toBe(best === pivot);
      if (start) {
        expect(start.seed).toBe(seed + 1e6 * ++restarts);
        expect(start.score).not.toBe(pivot.score);
      }
      pivot = start ?? best;
      for (const t of next.filter((n) => n.parent !== null)) expect(t.parent).toBe(pivot.candidate);
    }
    const queries = 6 * 2 + trace!.filter((t) => t.parent === null).length;
    expect(result.counts).toEqual({ rewardQueries: queries, denoiserCalls: 4 * queries });
    expect(result.scores[0]).toBe(Math.max(...trace!.map((t) => t.score)));
    restarts = 0;
  }
});
