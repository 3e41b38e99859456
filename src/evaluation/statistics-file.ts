/** @file The Gaussian statistics of features as a file. */
import { FormatError } from '../formats/errors.js';
import { openSafetensors, writeSafetensors } from '../formats/safetensors.js';
import type { WeightSource } from '../formats/weights.js';
import { host } from '../graph/dtype.js';
import { deferred } from '../host/resources.js';
import type { GaussianStatistics } from './frechet.js';

/** Writes statistics as safetensors: `mean` [D] and `covariance` [D, D], float64, and the count as metadata. */
export async function writeStatistics(
  path: string, statistics: GaussianStatistics, metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const { count, mean, covariance } = statistics;
  await writeSafetensors(path, [
    ['mean', host(mean, [mean.length], 'float64')],
    ['covariance', host(covariance, [mean.length, mean.length], 'float64')],
  ], { ...metadata, count: String(count) });
}

/** Reads what `writeStatistics` wrote. @throws FormatError for anything else */
export async function readStatistics(path: string): Promise<GaussianStatistics> {
  const source = await openSafetensors(path);
  await using _ = deferred(() => source.close());
  return await parseStatistics(source, path);
}

async function parseStatistics(source: WeightSource, path: string): Promise<GaussianStatistics> {
  const wrong = (problem: string): FormatError =>
    new FormatError(path, problem, 'Make the feature statistics again from the images.');
  const { data: mean } = await source.read('mean');
  const { data: covariance, shape } = await source.read('covariance');
  if (!(mean instanceof Float64Array) || !(covariance instanceof Float64Array)) throw wrong('does not hold float64');
  if (shape.length !== 2 || shape.some((d) => d !== mean.length)) {
    throw wrong(`has a covariance of [${shape.join(', ')}]`);
  }
  const count = Number(source.metadata['count']);
  if (!Number.isSafeInteger(count) || count < 2) throw wrong('does not say of how many images it is made');
  if ([...mean, ...covariance].some((x) => !Number.isFinite(x))) throw wrong('holds numbers that are not finite');
  return { count, mean, covariance };
}
