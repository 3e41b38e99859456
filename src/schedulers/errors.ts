/** @file What is wrong with the use of a sampler. */

/** Wrong use of a sampler: its message says which option to change. */
export class SamplingError extends Error {
  override readonly name = 'SamplingError';
}
