/** @file Runs a model on a fixture's inputs and parameters and compares outputs and gradients. */
import { expect } from 'vitest';
import { vjp } from '../../src/graph/grad.js';
import { graphInputs } from '../../src/graph/onnx/export.js';
import { input } from '../../src/graph/tensor.js';
import type { Tensor } from '../../src/graph/tensor.js';
import type { Precision } from '../../src/nn/precision.js';
import { rootScope } from '../../src/nn/scope.js';
import type { Adapter, Scope } from '../../src/nn/scope.js';
import { compile } from '../../src/runtime/compile.js';
import { expectGradients, maxError } from './fixture.js';
import type { Fixture } from './fixture.js';
import { scalarHost } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';

export interface CompareOptions {
  adapters?: readonly Adapter[];
  /** Float32 by default. */
  precision?: Precision;
  /** Path of the model's root; weights of the fixture are without it. */
  root?: string;
  /** Inputs that are not in the fixture under their own name: adapters' tensors. */
  feeds?: Readonly<Record<string, HostTensor>>;
  /** For a `grad.` name outside of `in.` and `param.`: the tensor. */
  other?: (name: string) => Tensor;
  /** A second run with other feeds: outputs by name → what the fixture calls them. */
  again?: { feeds: Readonly<Record<string, HostTensor>>; outputs: Readonly<Record<string, string>> };
}

/** From the inputs `in.*` to the outputs `out.*`; what it gives beyond those is ignored. */
export type TracedModel = (scope: Scope, inputs: Record<string, Tensor>) => Record<string, Tensor>;

/** The outputs that have a cotangent, and the gradients `grad.*`, by name; checks that every weight was read. */
export async function runOnFixture(
  fixture: Fixture, model: TracedModel, options: CompareOptions = {},
): Promise<Record<string, HostTensor>> {
  const inputs: Record<string, Tensor> = {};
  const feeds: Record<string, HostTensor> = { 'loss scale': scalarHost(1024), ...options.feeds };
  for (const [key, value] of fixture.part('in.')) {
    inputs[key] = input(`in.${key}`, value.shape, value.dtype);
    feeds[`in.${key}`] = value;
  }
  const parameters = new Map<string, Tensor>();
  const { root = '' } = options;
  const scope = rootScope((path, shape) => {
    const name = root ? path.slice(root.length + 1) : path;
    const value = fixture.get(`param.${name}`);
    expect(value.shape, name).toEqual(shape);
    const t = parameters.get(name) ?? input(`param.${name}`, shape);
    parameters.set(name, t);
    feeds[`param.${name}`] = value;
    return t;
  }, options.adapters, root, options.precision);
  const made = model(scope, inputs);
  const outputs: Record<string, Tensor> = {};
  const cotangents: Tensor[] = [];
  for (const [key, value] of fixture.part('cotangent.')) {
    outputs[key] = made[key]!;
    cotangents.push(input(`cotangent.${key}`, value.shape));
    feeds[`cotangent.${key}`] = value;
  }
  const references = fixture.part('grad.');
  const leaves = [...references.keys()].map((name) => {
    if (name.startsWith('in.')) return inputs[name.slice(3)]!;
    if (name.startsWith('param.')) return parameters.get(name.slice(6))!;
    return options.other!(name);
  });
  const gradients = vjp(Object.values(outputs), leaves, cotangents);
  [...references.keys()].forEach((name, i) => (outputs[`grad.${name}`] = gradients[i]!));
  const executable = await compile({ outputs }, { threads: 1 });
  const read = graphInputs({ outputs });
  const run = (all: Record<string, HostTensor>): ReturnType<typeof executable.run> =>
    executable.run(Object.fromEntries(Object.entries(all).filter(([name]) => read.has(name))));
  const results = await run(feeds);
  if (options.again) {
    const second = await run({ ...feeds, ...options.again.feeds });
    for (const [name, theirs] of Object.entries(options.again.outputs)) {
      expect(maxError(second[name]!, fixture.get(`out.${theirs}`)), theirs).toBeLessThan(1e-4);
    }
  }
  await executable.release();
  expect(parameters.size).toBe(fixture.part('param.').size);
  return results;
}

export async function compareWithReference(fixture: Fixture, model: TracedModel, options: CompareOptions = {}): Promise<void> {
  const results = await runOnFixture(fixture, model, options);
  const references = fixture.part('grad.');
  for (const key of fixture.part('cotangent.').keys()) {
    expect(maxError(results[key]!, fixture.get(`out.${key}`)), key).toBeLessThan(1e-4);
  }
  if (references.size > 0) expectGradients(results, references);
}
