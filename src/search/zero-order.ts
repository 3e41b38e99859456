/** @file Zero-order search: chains through initial noise towards better scores, without gradients. */
import { z } from 'zod';
import { child, draw, fresh } from './candidate.js';
import type { Candidate } from './candidate.js';
import type { Scored } from './explorer.js';
import { openLedgers, resultOf } from './search.js';
import type { Search } from './search.js';

const options = z.strictObject({
  rounds: z.int().positive().default(4)
    .describe('Rounds of search about the pivot.'),
  neighbours: z.int().positive().default(4)
    .describe('Neighbours of the pivot in each round; 4 in tt-scale-flux.'),
  cosine: z.number().gt(-1).lt(1).default(0.95)
    .describe('λ, the cosine between the pivot and its neighbours; 0.95 in tt-scale-flux.'),
  restart: z.enum(['keep', 'fresh']).default('keep')
    .describe('What follows a round without a better neighbour. `keep`: another round about the same pivot, so that the '
      + 'score of the pivot never falls; the paper says no more than that the best candidate becomes the pivot. '
      + '`fresh`: a new pivot of fresh noise, as tt-scale-flux does.'),
});

/**
 * A point at the pivot's distance from the origin, at an angle with the given cosine to it:
 * n′ = ‖n‖·(λ·u + √(1 − λ²)·w), with u = n/‖n‖ and w the unit vector of `direction`'s part orthogonal to u. Computed in
 * float64, rounded once.
 *
 * @param direction any numbers that are not a multiple of the pivot
 */
export function neighbour(pivot: Float32Array, direction: Float32Array, cosine: number): Float32Array {
  const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
    let sum = 0;
    for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
    return sum;
  };
  const norm = Math.sqrt(dot(pivot, pivot));
  const along = dot(direction, pivot) / norm ** 2;
  const across = Float64Array.from(direction, (g, i) => g - along * pivot[i]!);
  const scale = (norm * Math.sqrt(1 - cosine ** 2)) / Math.sqrt(dot(across, across));
  return pivot.map((v, i) => cosine * v + scale * across[i]!);
}

/** Where one prompt's chain stands. */
interface Chain {
  /** Initial noise, not yet denoised: what neighbours are made of. */
  readonly pivot: Candidate;
  /** Null as long as it was not scored. */
  readonly score: number | null;
  /** Fresh noises used up. */
  readonly starts: number;
}

/**
 * Zero-order search (Ma et al. 2025; neighbours as in tt-scale-flux). All candidates of a line share the noise of
 * stochastic steps, so that the score is a function of the initial noise. A fresh pivot is scored along with its
 * neighbours, and no pivot twice. The result is the best of all that was scored.
 */
export const zeroOrder: Search<z.infer<typeof options>> = {
  name: 'zero-order',
  summary: 'moves the initial noise to its best neighbour, round after round',
  paper: 'Ma et al. 2025, Inference-Time Scaling for Diffusion Models beyond Scaling Denoising Steps, arXiv 2501.09732',
  options,
  effort: 'rounds',
  width: ({ neighbours }) => neighbours,
  cost({ rounds, neighbours, restart }, plan) {
    const samples = rounds * neighbours + (restart === 'keep' ? 1 : rounds);
    return { denoiserCalls: samples * plan.steps.length, rewardQueries: samples };
  },
  async run(explorer, { rounds, neighbours, cosine, restart }, request) {
    const { task } = explorer;
    const steps = task.plan.steps.length;
    const ledgers = openLedgers(request);
    let chains = ledgers.map((ledger): Chain => ({ pivot: fresh(task, ledger, 0), score: null, starts: 1 }));
    for (let round = 0; round < rounds; round++) {
      const noises = chains.map(({ pivot, score }) => {
        const around = Array.from({ length: neighbours }, (_, k) => {
          const key = { seed: task.seed, stream: `zero-order ${round} ${k}`, item: pivot.ledger.item };
          return child(pivot, neighbour(pivot.x, draw(key, 0, pivot.x.length), cosine), key);
        });
        return score === null ? [pivot, ...around] : around;
      });
      const scored = await explorer.score(await explorer.advance(noises.flat(), 0, steps), round, steps);
      chains = chains.map((chain, i) => {
        const own = scored.filter(({ ledger }) => ledger === ledgers[i]);
        const score = chain.score ?? own[0]!.score;
        const best = own.reduce((a: Scored, b) => (b.score > a.score ? b : a));
        if (best.score > score) {
          return { ...chain, pivot: noises[i]!.find((c) => c.number === best.number)!, score: best.score };
        }
        if (restart === 'keep' || round === rounds - 1) return { ...chain, score };
        return { pivot: fresh(task, ledgers[i]!, chain.starts), score: null, starts: chain.starts + 1 };
      });
    }
    return resultOf(explorer, ledgers);
  },
};
