/** @file Search over paths: branches during sampling, where noise is added back and the best branches go on. */
import { z } from 'zod';
import { addNoise } from '../schedulers/forward-process.js';
import type { Plan } from '../schedulers/plan.js';
import { SamplingError } from '../schedulers/errors.js';
import { bridge } from '../schedulers/process.js';
import { isMultistep } from '../schedulers/step.js';
import { bookCalls, child, draw, fresh } from './candidate.js';
import type { Candidate } from './candidate.js';
import { openLedgers, resultOf } from './search.js';
import type { Search } from './search.js';

const options = z.strictObject({
  n: z.int().positive().default(4)
    .describe('N: initial noises, and branches that go on after each round.'),
  branches: z.int().positive().default(3)
    .describe('M: noises added to each of them in each round.'),
  start: z.int().positive().optional()
    .describe('Steps before the first branching, down to σ_s. Default: a fifth of the sampler\'s.'),
  forward: z.int().positive().optional()
    .describe('Δf in steps: how far noise is added back. Default: a tenth of the sampler\'s.'),
  backward: z.int().positive().optional()
    .describe('Δb in steps, from there on: how far it is denoised again. More than `forward`; default: three tenths.'),
});

type Options = z.infer<typeof options>;

/** Rounds by the steps they begin at, go back to and end with. */
interface Stage {
  readonly from: number;
  readonly back: number;
  readonly to: number;
}

/** @throws SamplingError if the sampler cannot go back, or the options do not fit its number of steps */
export function stages(given: Options, plan: Plan): Stage[] {
  if (isMultistep(plan)) {
    throw new SamplingError('search paths goes back during sampling, which needs a one-step sampler; ' +
      'use --sampler ddim, ddpm, euler or euler-a');
  }
  const steps = plan.steps.length;
  const share = (part: number): number => Math.max(1, Math.round(steps * part));
  const { start = share(1 / 5), forward = share(1 / 10), backward = forward + share(1 / 5) } = given;
  if (start >= steps) {
    throw new SamplingError(`search paths begins after ${start} steps, but sampling has ${steps}; ` +
      'take more --sampling-steps, or a smaller search.start');
  }
  if (backward <= forward) {
    throw new SamplingError(`search paths goes back by ${forward} steps and on by ${backward}, and so never ends; ` +
      'search.backward must be more than search.forward');
  }
  const all: Stage[] = [];
  for (let from = start; from < steps;) {
    const back = Math.max(0, from - forward);
    const to = Math.min(steps, back + backward);
    all.push({ from, back, to });
    from = to;
  }
  return all;
}

/** x with noise added from the level that step `from` leaves to the one that step `to` starts at. */
function noised({ steps }: Plan, x: Float32Array, from: number, to: number, noise: Float32Array): Float32Array {
  const { mean, std } = bridge(steps[from - 1]!.to, steps[to]!.from);
  return addNoise({ signal: mean, noise: std }, x, noise);
}

/**
 * Search over paths (Ma et al. 2025): N noises are denoised to σ_s; each is noised M times to a level Δf above and then
 * denoised by Δb; the N best by the score of x̂0 go on in the same way. The last round ends with finished samples, of
 * which the best is the result. x̂0 is that of the last step taken, which costs no call of its own.
 */
export const paths: Search<Options> = {
  name: 'paths',
  summary: 'branches during sampling: adds noise back, denoises, and goes on with the best',
  paper: 'Ma et al. 2025, Inference-Time Scaling for Diffusion Models beyond Scaling Denoising Steps, arXiv 2501.09732',
  options,
  effort: 'n',
  width: ({ n, branches }) => n * branches,
  cost(given, plan) {
    const { n, branches } = given;
    const rounds = stages(given, plan);
    const denoised = rounds.reduce((sum, { back, to }) => sum + to - back, 0);
    return {
      denoiserCalls: n * rounds[0]!.from + n * branches * denoised,
      rewardQueries: n * branches * rounds.length,
    };
  },
  async run(explorer, given, request) {
    const { task } = explorer;
    const { n, branches } = given;
    const rounds = stages(given, task.plan);
    const ledgers = openLedgers(request);
    const noises = ledgers.flatMap((ledger) => Array.from({ length: n }, (_, i) => fresh(task, ledger, i)));
    let kept: Candidate[] = (await explorer.advance(noises, 0, rounds[0]!.from)).map(bookCalls);
    for (const [round, { from, back, to }] of rounds.entries()) {
      const made = kept.flatMap((parent, i) => Array.from({ length: branches }, (_, k) => {
        const { item } = parent.ledger;
        const key = { seed: task.seed, stream: `paths ${round} ${(i % n) * branches + k}`, item };
        const noise = draw(key, 0, parent.x.length);
        return child(parent, noised(task.plan, parent.x, from, back, noise), key, key);
      }));
      const scored = await explorer.score(await explorer.advance(made, back, to), round, to);
      kept = ledgers.flatMap((ledger) => scored.filter((c) => c.ledger === ledger)
        .toSorted((a, b) => b.score - a.score).slice(0, n));
    }
    return resultOf(explorer, ledgers);
  },
};
