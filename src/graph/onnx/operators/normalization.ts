/** @file ONNX normalisations, as at inference. */
import { sizeOf } from '../../dtype.js';
import { abs, add, div, equal, pow, reciprocal, sqrt, sqrtOfSquares, square, sub, where } from '../../ops/arithmetic.js';
import { expand, reshape } from '../../ops/layout.js';
import { matmul } from '../../ops/matmul.js';
import { batchNorm, groupNorm, layerNorm, rmsNorm } from '../../ops/norm.js';
import { mean, norm, normalizeAxes, sum, variance } from '../../ops/reduce.js';
import { matrix } from '../../ops/separable.js';
import { literal } from '../../tensor.js';
import type { Tensor } from '../../tensor.js';
import type { Call, Operator } from '../call.js';

function batch(c: Call): Tensor {
  c.ignore('momentum');
  if (c.int('training_mode', 0) !== 0 || c.int('spatial', 1) !== 1) c.fail('only inference over channels is supported');
  return batchNorm(c.x(0), c.x(1), c.x(2), c.x(3), c.x(4), c.float('epsilon', 1e-5));
}

function instance(c: Call): Tensor {
  const x = c.x(0);
  if (x.rank < 3) c.fail(`takes [B, C, ...], not ${x}`);
  return groupNorm(x, x.shape[1]!, c.x(1), c.x(2), c.float('epsilon', 1e-5));
}

/** Scale and shift are per group in operator set 18, per channel from 21 on. */
function group(c: Call): Tensor {
  c.ignore('stash_type');
  const x = c.x(0);
  const groups = c.int('num_groups') ?? c.fail('attribute num_groups is missing');
  const channels = x.shape[1] ?? c.fail(`takes [B, C, ...], not ${x}`);
  if (!(groups >= 1) || channels % groups !== 0) c.fail(`${channels} channels do not divide into ${groups} groups`);
  const perChannel = (t: Tensor): Tensor =>
    t.size === channels ? t : reshape(expand(reshape(t, [groups, 1]), [groups, channels / groups]), [channels]);
  return groupNorm(x, groups, perChannel(c.x(1)), perChannel(c.x(2)), c.float('epsilon', 1e-5));
}

/** The axes from `axis` on as one, and a scale that fits them. */
function trailing(c: Call, x: Tensor, axis: number): { rows: Tensor; fit: (t: Tensor) => Tensor; axes: number[] } {
  const at = normalizeAxes(c.node.opType, x.rank, [axis])[0]!;
  const tail = x.shape.slice(at);
  const length = sizeOf(tail);
  const axes = tail.map((_, i) => at + i);
  return { rows: reshape(x, [sizeOf(x.shape.slice(0, at)), length]), fit: (t) => reshape(expand(t, tail), [length]), axes };
}

/** Output 1 is the mean, output 2 the inverse deviation, both with the normalised axes kept. */
export function layer(
  c: Call,
  x: Tensor,
  scale: Tensor,
  shift: Tensor | undefined,
  axis: number,
  epsilon: number,
): Tensor[] {
  const { rows, fit, axes } = trailing(c, x, axis);
  const y = reshape(layerNorm(rows, fit(scale), shift && fit(shift), epsilon), x.shape);
  if (c.node.output.length < 2) return [y];
  const inverse = reciprocal(sqrt(add(variance(x, { axes, keepDims: true }), epsilon)));
  return [y, mean(x, { axes, keepDims: true }), inverse];
}

function layerNormalization(c: Call): Tensor[] {
  c.ignore('stash_type');
  return layer(c, c.x(0), c.x(1), c.optional(2), c.int('axis', -1), c.float('epsilon', 1e-5));
}

/** Also ONNX Runtime's name for it, SimplifiedLayerNormalization. */
function rootMeanSquare(c: Call): Tensor {
  c.ignore('stash_type');
  const x = c.x(0);
  const { rows, fit } = trailing(c, x, c.int('axis', -1));
  return reshape(rmsNorm(rows, fit(c.x(1)), c.float('epsilon', 1e-5)), x.shape);
}

function lp(c: Call): Tensor {
  const x = c.x(0);
  const options = { axes: [c.int('axis', -1)], keepDims: true };
  const p = c.int('p', 2);
  if (p !== 1 && p !== 2) c.fail(`norm ${p} is not supported`);
  const length = p === 1 ? sum(abs(x), options) : norm(x, options);
  const zero = equal(length, 0); // what is 0 stays 0, without a gradient
  return div(where(zero, 0, x), where(zero, 1, length));
}

function meanVariance(c: Call): Tensor {
  const x = c.x(0);
  const axes = c.intList('axes') ?? [0, 2, 3];
  const centred = sub(x, mean(x, { axes, keepDims: true }));
  const deviation = sqrtOfSquares(mean(square(centred), { axes, keepDims: true }));
  return div(centred, add(deviation, 1e-9));
}

/** x / (bias + alpha/size · Σ x²)^beta, the sum over `size` neighbouring channels. */
function localResponse(c: Call): Tensor {
  const x = c.x(0);
  const size = c.int('size') ?? c.fail('attribute size is missing');
  const channels = x.shape[1] ?? c.fail(`takes [B, C, ...], not ${x}`);
  c.budget(channels * channels);
  const [before, after] = [Math.floor((size - 1) / 2), Math.ceil((size - 1) / 2)];
  const weight = c.float('alpha', 1e-4) / size;
  const near = matrix(channels, channels, (i, j) => (j >= i - before && j <= i + after ? weight : 0));
  const squares = reshape(square(x), [x.shape[0]!, channels, sizeOf(x.shape.slice(2))]);
  const sums = reshape(matmul(literal(Array.from(near.data), [channels, channels]), squares), x.shape);
  return div(x, pow(add(sums, c.float('bias', 1)), c.float('beta', 0.75)));
}

/** ONNX Runtime's fusions of BERT-like encoders: normalises input + skip (+ bias); output 3 is that sum. */
export const skipLayer: Operator = (c) => {
  const [x, skip, gamma, beta, bias] = [c.x(0), c.x(1), c.x(2), c.optional(3), c.optional(4)];
  const total = bias ? add(add(x, skip), bias) : add(x, skip);
  const [y] = layer(c, total, gamma, beta, -1, c.float('epsilon', 1e-12));
  return [y, undefined, undefined, total];
};

export const normalization: Readonly<Record<string, Operator>> = {
  BatchNormalization: batch,
  InstanceNormalization: instance,
  GroupNormalization: group,
  LayerNormalization: layerNormalization,
  RMSNormalization: rootMeanSquare,
  SimplifiedLayerNormalization: rootMeanSquare,
  LpNormalization: lp,
  LRN: localResponse,
  MeanVarianceNormalization: meanVariance,
};
