/** @file Runs a model on a fixture's inputs and parameters and compares outputs and gradients. */
import { expect } from 'vitest';
import { vjp } from '../../src/graph/grad.js';
import { input } from '../../src/graph/tensor.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { rootScope } from '../../src/nn/scope.js';
import type { Adapter, Scope } from '../../src/nn/scope.js';
import { compile } from '../../src/runtime/compile.js';
import { maxError, relativeError } from './fixture.js';
import type { Fixture } from './fixture.js';
import type { HostTensor } from '../../src/graph/dtype.js';

export interface CompareOptions {
  adapters?: readonly Adapter[];
  /** Inputs that are not in the fixture under their own name: adapters' tensors. */
  feeds?: Readonly<Record<string, HostTensor>>;
  /** For a `grad.` name outside of `in.` and `param.`: the tensor. */
  other?: (name: string) => Tensor;
}

/** @param model from the inputs `in.*` to the outputs `out.*`; what it gives beyond those is ignored */
export async function compareWithReference(
  fixture: Fixture,
  model: (scope: Scope, inputs: Record<string, Tensor>) => Record<string, Tensor>,
  options: CompareOptions = {},
): Promise<void> {
  const inputs: Record<string, Tensor> = {};
  const feeds: Record<string, HostTensor> = { ...options.feeds };
  for (const [key, value] of fixture.part('in.')) {
    inputs[key] = input(`in.${key}`, value.shape, value.dtype);
    feeds[`in.${key}`] = value;
  }
  const parameters = new Map<string, Tensor>();
  const scope = rootScope((name, shape) => {
    const value = fixture.get(`param.${name}`);
    expect(value.shape, name).toEqual(shape);
    const t = parameters.get(name) ?? input(`param.${name}`, shape);
    parameters.set(name, t);
    feeds[`param.${name}`] = value;
    return t;
  }, options.adapters);
  const results = model(scope, inputs);
  const outputs: Record<string, Tensor> = {};
  const cotangents: Tensor[] = [];
  for (const [key, value] of fixture.part('cotangent.')) {
    outputs[key] = results[key]!;
    cotangents.push(input(`cotangent.${key}`, value.shape));
    feeds[`cotangent.${key}`] = value;
  }
  const wanted = [...fixture.part('grad.').keys()];
  const leaves = wanted.map((name) => {
    if (name.startsWith('in.')) return inputs[name.slice(3)]!;
    if (name.startsWith('param.')) return parameters.get(name.slice(6))!;
    return options.other!(name);
  });
  const gradients = vjp(Object.values(outputs), leaves, cotangents);
  const all = { ...outputs, ...Object.fromEntries(wanted.map((name, i) => [`grad.${name}`, gradients[i]!])) };
  const exe = await compile({ outputs: all });
  const got = await exe.run(feeds);
  await exe.release();
  for (const key of Object.keys(outputs)) expect(maxError(got[key]!, fixture.get(`out.${key}`)), key).toBeLessThan(1e-4);
  for (const name of wanted) {
    expect(relativeError(got[`grad.${name}`]!, fixture.get(`grad.${name}`)), `gradient of ${name}`).toBeLessThan(1e-3);
  }
  expect(parameters.size).toBe(fixture.part('param.').size);
}
