/** @file Best of n: as many samples, and the one that scores best. */
import { z } from 'zod';
import { fresh } from './candidate.js';
import { openLedgers, resultOf } from './search.js';
import type { Search } from './search.js';

const options = z.strictObject({
  n: z.int().positive().default(16)
    .describe('Samples of a prompt.'),
});

/**
 * Random search (Ma et al. 2025). The trace is in the order of the seeds, so the best of any fewer, such as the
 * rounds of 2, 4, 8, … samples in tt-scale-flux, can be read from it.
 */
export const bestOfN: Search<z.infer<typeof options>> = {
  name: 'best-of-n',
  summary: 'the best of n samples from independent noise (random search)',
  paper: 'Ma et al. 2025, Inference-Time Scaling for Diffusion Models beyond Scaling Denoising Steps, arXiv 2501.09732',
  options,
  effort: 'n',
  width: ({ n }) => n,
  cost: ({ n }, plan) => ({ denoiserCalls: n * plan.steps.length, rewardQueries: n }),
  async run(explorer, { n }, request) {
    const { task } = explorer;
    const steps = task.plan.steps.length;
    const ledgers = openLedgers(request);
    const noises = ledgers.flatMap((ledger) => Array.from({ length: n }, (_, i) => fresh(task, ledger, i)));
    await explorer.score(await explorer.advance(noises, 0, steps), 0, steps);
    return resultOf(explorer, ledgers);
  },
};
