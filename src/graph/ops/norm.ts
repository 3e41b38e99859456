/** @file Normalisations: layer, group, batch (fixed statistics) and root-mean-square. */
import { sizeOf } from '../dtype.js';
import { describeShape, traceError } from '../errors.js';
import { applyMany, customVjp, float, full } from '../tensor.js';
import type { Tensor, Vjp } from '../tensor.js';
import { add, cast, div, mul, reciprocal, sqrt, square, sub } from './arithmetic.js';
import { expand, reshape } from './layout.js';
import { matmul } from './matmul.js';
import { mean, sum, sumTo } from './reduce.js';

/** Rows standardised, scaled and shifted, and their statistics [..., 1]: mean μ and inverse deviation 1/√(variance + ε). */
interface Normalized {
  readonly y: Tensor;
  readonly mu: Tensor;
  readonly inverse: Tensor;
}

/** What is summed over many elements, or is as large as such a sum, is float32 whatever x is. */
const wide = (x: Tensor): Tensor => cast(x, 'float32');

/**
 * The fused operator; statistics are float32 in every precision. It differentiates them; the gradient of y is for the
 * caller to tell, by a customVjp.
 */
function normalizeRows(x: Tensor, scale: Tensor, shift: Tensor | undefined, epsilon: number): Normalized {
  const c = x.shape.at(-1)!;
  const byX: Vjp = (_g, [, gMu, gInverse]) => {
    const parts: Tensor[] = [];
    if (gMu) parts.push(expand(div(gMu, c), x.shape));
    if (gInverse) parts.push(mul(sub(wide(x), mu), mul(mul(gInverse, -1 / c), mul(square(inverse), inverse))));
    return cast(parts.reduce((a, b) => add(a, b)), x.dtype);
  };
  const row = { shape: x.shape.with(-1, 1), dtype: 'float32' } as const;
  const [y, mu, inverse] = applyMany(
    {
      op: 'LayerNormalization',
      inputs: shift ? [x, scale, shift] : [x, scale],
      attributes: { axis: -1, epsilon: float(epsilon) },
      vjps: [byX],
    },
    [{ shape: x.shape, dtype: x.dtype }, row, row],
  ) as [Tensor, Tensor, Tensor];
  return { y, mu, inverse };
}

/*
 * The gradient by x of y = scale·x̂ + shift with x̂ = (x − μ)·inverse is inverse·(ĝ − mean ĝ − x̂ · mean(ĝ x̂)), ĝ = g·scale,
 * means over what μ is a mean of. Written as a·g − b·x + d with a, b and d known for each row (or channel of a picture),
 * it takes about half as many passes over memory as computing x̂ again.
 */

/**
 * Standardises the last axis and applies a scale and a shift.
 *
 * @param x [..., C]
 * @param scale [C]
 * @param shift [C]
 */
export function layerNorm(x: Tensor, scale: Tensor, shift?: Tensor, epsilon = 1e-5): Tensor {
  const c = x.shape.at(-1)!;
  if (scale.rank !== 1 || scale.shape[0] !== c || (shift && shift.shape[0] !== c)) {
    traceError('LayerNormalization', `scale ${describeShape(scale.shape)} does not fit ${describeShape(x.shape)}`);
  }
  const { y, mu, inverse } = normalizeRows(x, scale, shift, epsilon);
  const byX: Vjp = (g) => {
    const [gi, xs, gain] = [mul(wide(g), inverse), wide(x), wide(scale)];
    const column = reshape(gain, [c, 1]);
    // Σ ĝ·inverse and Σ ĝ·x·inverse of each row.
    const [plain, byValue] = [matmul(gi, column), matmul(mul(gi, xs), column)]; // [..., 1]
    const slope = mul(mul(sub(byValue, mul(mu, plain)), square(inverse)), 1 / c);
    return cast(sub(mul(gi, gain), sub(mul(xs, slope), sub(mul(mu, slope), mul(plain, 1 / c)))), x.dtype);
  };
  const byScale: Vjp = (g) => {
    const gi = mul(wide(g), inverse);
    const centres = matmul(reshape(mu, [1, -1]), reshape(gi, [-1, c])); // Σ g·inverse·μ over the rows, [1, C]
    return cast(sub(sumTo(mul(gi, wide(x)), scale.shape), reshape(centres, scale.shape)), scale.dtype);
  };
  const byShift: Vjp = (g) => cast(sumTo(wide(g), scale.shape), scale.dtype);
  return (shift ? customVjp([y], [x, scale, shift], [byX, byScale, byShift]) : customVjp([y], [x, scale], [byX, byScale]))[0]!;
}

/**
 * Standardises groups of channels over their positions, then scales and shifts each channel.
 *
 * @param x [B, C, ...]
 * @param scale [C]
 * @param shift [C]
 */
export function groupNorm(x: Tensor, groups: number, scale: Tensor, shift: Tensor, epsilon = 1e-5): Tensor {
  const [b, c] = x.shape as [number, number];
  if (c % groups !== 0) traceError('groupNorm', `${c} channels do not divide into ${groups} groups`);
  if (scale.shape[0] !== c) traceError('groupNorm', `scale ${describeShape(scale.shape)} does not fit ${describeShape(x.shape)}`);
  const width = c / groups;
  const length = width * sizeOf(x.shape.slice(2));
  const rows = reshape(x, [b, groups, length]);
  const { y: hat, mu, inverse } = normalizeRows(rows, full([length], 1, x.dtype), undefined, epsilon); // μ, inverse: [B, groups, 1]
  const affine = [c, ...x.shape.slice(2).map(() => 1)];
  const y = add(mul(reshape(hat, x.shape), reshape(scale, affine)), reshape(shift, affine));
  const perChannel = (t: Tensor): Tensor => sum(reshape(t, [b, groups, width, length / width]), { axes: [3] });
  // Σ g and Σ g·x̂ of each channel, [B, groups, C/groups].
  const sums = (g: Tensor): [Tensor, Tensor] => {
    const plain = perChannel(g);
    return [plain, mul(sub(perChannel(mul(g, wide(x))), mul(mu, plain)), inverse)];
  };
  const byX: Vjp = (half) => {
    const g = wide(half);
    const weights = wide(reshape(scale, [1, groups, width]));
    const [plain, byHat] = sums(g).map((t) => mul(sum(mul(t, weights), { axes: [2], keepDims: true }), 1 / length)) as [Tensor, Tensor];
    const slope = mul(byHat, square(inverse));
    const direct = mul(reshape(g, [b, c, length / width]), reshape(mul(weights, inverse), [b, c, 1]));
    const rest = sub(mul(wide(rows), slope), sub(mul(mu, slope), mul(plain, inverse)));
    return cast(reshape(sub(reshape(direct, rows.shape), rest), x.shape), x.dtype);
  };
  const byScale: Vjp = (g) => cast(reshape(sum(sums(wide(g))[1], { axes: [0] }), scale.shape), scale.dtype);
  const byShift: Vjp = (g) => cast(reshape(sum(sums(wide(g))[0], { axes: [0] }), shift.shape), shift.dtype);
  return customVjp([y], [x, scale, shift], [byX, byScale, byShift])[0]!;
}

/** Batch normalisation with stored statistics, as at inference: x [B, C, ...], the others [C]. */
export function batchNorm(x: Tensor, scale: Tensor, shift: Tensor, mu: Tensor, varr: Tensor, epsilon = 1e-5): Tensor {
  const affine = [x.shape[1]!, ...x.shape.slice(2).map(() => 1)];
  const gain = mul(scale, reciprocal(sqrt(add(varr, epsilon)))); // [C]
  return add(mul(x, reshape(gain, affine)), reshape(sub(shift, mul(mu, gain)), affine));
}

/** x / √(mean x² + ε) · scale over the last axis. */
export function rmsNorm(x: Tensor, scale: Tensor, epsilon = 1e-6): Tensor {
  return mul(div(x, sqrt(add(mean(square(x), { axes: [-1], keepDims: true }), epsilon))), scale);
}

/** Divides by the Euclidean length along an axis. */
export function normalize(x: Tensor, axis = -1, epsilon = 1e-12): Tensor {
  return div(x, sqrt(add(sum(square(x), { axes: [axis], keepDims: true }), epsilon)));
}
