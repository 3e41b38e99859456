/** @file A small network beside the denoiser: ∇-DB's flow network g_φ (algorithms.md §1.3). */
import type { HostTensor } from '../graph/dtype.js';
import type { Tensor } from '../graph/tensor.js';
import type { Auxiliary } from '../methods/task.js';
import { componentShapes } from '../models/components.js';
import type { Condition } from '../models/denoiser.js';
import { initialWeights } from '../models/init.js';
import type { Pipeline } from '../models/pipeline.js';
import { rootScope, trainableWeights } from '../nn/scope.js';

/** Zero at first: what makes its output starts at zero, as intended (but not done) in the published code. */
export function auxiliaryNetwork(pipeline: Pipeline, name: string, condition: Condition, seed: number): Auxiliary {
  const { denoiser: spec } = pipeline.family;
  const { kind, config: full } = pipeline.denoiser;
  const config = spec.small(full);
  const prefix = `${name}/`;
  const symbols = new Map<string, Tensor>();
  const source = trainableWeights(prefix, (weight, t) => symbols.set(prefix + weight, t));
  const network = spec.network(rootScope(source), config);
  const initial = initialWeights(componentShapes(kind, config as never), seed, spec.zeroAtFirst);
  const parameters = new Map([...initial].map(([weight, t]): [string, HostTensor] => [prefix + weight, t]));
  return { parameters, symbols, output: (x, step) => network(x, step.timestep, condition) };
}
