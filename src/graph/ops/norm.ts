/** @file Normalisations: layer, group, batch (fixed statistics) and root-mean-square. */
import { sizeOf } from '../dtype.js';
import { describeShape, traceError } from '../errors.js';
import { applyMany, float, full } from '../tensor.js';
import type { Tensor, Vjp } from '../tensor.js';
import { add, div, mul, reciprocal, sqrt, square, sub } from './arithmetic.js';
import { reshape } from './layout.js';
import { mean, sum, sumTo } from './reduce.js';

/**
 * Standardises the last axis and applies a scale and a shift.
 *
 * @param x [..., C]
 * @param scale [C]
 * @param shift [C]
 */
export function layerNorm(x: Tensor, scale: Tensor, shift?: Tensor, epsilon = 1e-5): Tensor {
  const c = x.shape.at(-1);
  if (scale.rank !== 1 || scale.shape[0] !== c || (shift && shift.shape[0] !== c)) {
    traceError('LayerNormalization', `scale ${describeShape(scale.shape)} does not fit ${describeShape(x.shape)}`);
  }
  const axes = [-1];
  const centre = (): Tensor => mul(sub(x, mu), inverse); // x̂
  const byX: Vjp = (_g, [gy, gMean, gInverse]) => {
    const hat = centre();
    const parts: Tensor[] = [];
    if (gy) {
      // ∂x = (ĝ − mean ĝ − x̂ · mean(ĝ x̂)) / std, with ĝ = g · scale
      const gHat = mul(gy, scale);
      const projected = mul(hat, mean(mul(gHat, hat), { axes, keepDims: true }));
      parts.push(mul(sub(sub(gHat, mean(gHat, { axes, keepDims: true })), projected), inverse));
    }
    if (gMean) parts.push(div(add(gMean, mul(hat, 0)), c!));
    // inverse = (var + ε)^(−1/2): ∂x = −inverse² · x̂ / C
    if (gInverse) parts.push(mul(hat, mul(mul(gInverse, square(inverse)), -1 / c!)));
    return parts.reduce((a, b) => add(a, b));
  };
  const byScale: Vjp = (_g, [gy]) => (gy ? sumTo(mul(gy, centre()), scale.shape) : full(scale.shape, 0));
  const byShift: Vjp = (_g, [gy]) => (gy ? sumTo(gy, shift!.shape) : full(shift!.shape, 0));
  const row = x.shape.with(-1, 1);
  const [y, mu, inverse] = applyMany(
    {
      op: 'LayerNormalization',
      inputs: shift ? [x, scale, shift] : [x, scale],
      attributes: { axis: -1, epsilon: float(epsilon) },
      vjps: [byX, byScale, byShift],
    },
    [
      { shape: x.shape, dtype: x.dtype },
      { shape: row, dtype: 'float32' },
      { shape: row, dtype: 'float32' },
    ],
  ) as [Tensor, Tensor, Tensor];
  return y;
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
  const length = (c / groups) * sizeOf(x.shape.slice(2));
  const hat = layerNorm(reshape(x, [b * groups, length]), full([length], 1), undefined, epsilon);
  const affine = [c, ...x.shape.slice(2).map(() => 1)];
  return add(mul(reshape(hat, x.shape), reshape(scale, affine)), reshape(shift, affine));
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
