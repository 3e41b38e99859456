/** @file Activation functions and softmax. */
import { apply, float } from '../tensor.js';
import type { Tensor } from '../tensor.js';
import { add, cast, clip, erf, exp, greater, mul, sigmoid, square, sub, tanh, where } from './arithmetic.js';
import { normalizeAxes, sum } from './reduce.js';

/** x·σ(alpha·x), in one pass: SiLU for alpha 1, quick-GELU for 1.702. */
function sigmoidGate(x: Tensor, alpha: number): Tensor {
  const back = (g: Tensor): Tensor => {
    // d = σ + alpha·x·σ·(1 − σ) = σ + alpha·y·(1 − σ)
    const s = sigmoid(mul(x, alpha));
    return mul(g, add(s, mul(mul(y, alpha), sub(1, s))));
  };
  const call = { op: 'QuickGelu', domain: 'com.microsoft', inputs: [x], attributes: { alpha: float(alpha) }, vjps: [back] };
  const y: Tensor = apply(call, x.shape, x.dtype);
  return y;
}

/** SiLU (swish): x·σ(x). */
export const silu = (x: Tensor): Tensor => sigmoidGate(x, 1);
/** OpenAI CLIP's GELU: x·σ(1.702·x). */
export const quickGelu = (x: Tensor): Tensor => sigmoidGate(x, 1.702);

/** (1 + x)/2 for x in [−1, 1], in one pass. */
function middle(x: Tensor): Tensor {
  const attributes = { alpha: float(0.5), beta: float(0.5) };
  return apply({ op: 'HardSigmoid', inputs: [x], attributes, vjps: [(g) => mul(g, 0.5)] }, x.shape, x.dtype);
}

/** x·Φ(x) with the normal distribution function Φ, in one pass. */
export function gelu(x: Tensor): Tensor {
  const back = (g: Tensor): Tensor => {
    // d = Φ(x) + x·φ(x) = (1 + erf z)/2 + z·exp(−z²)/√π with z = x/√2
    const z = mul(x, Math.SQRT1_2);
    const bell = exp(sub(-0.5 * Math.log(Math.PI), square(z)));
    return mul(g, add(middle(erf(z)), mul(z, bell)));
  };
  return apply({ op: 'Gelu', domain: 'com.microsoft', inputs: [x], vjps: [back] }, x.shape, x.dtype);
}

/** GELU by the tanh approximation (Hendrycks & Gimpel 2016). */
export function geluTanh(x: Tensor): Tensor {
  const inner = mul(mul(x, Math.sqrt(2 / Math.PI)), add(mul(square(x), 0.044715), 1));
  return mul(mul(x, 0.5), add(tanh(inner), 1));
}

export function relu(x: Tensor): Tensor {
  const back = (g: Tensor): Tensor => mul(g, cast(greater(x, 0), g.dtype));
  return apply({ op: 'Relu', inputs: [x], vjps: [back] }, x.shape, x.dtype);
}

export const leakyRelu = (x: Tensor, slope = 0.01): Tensor => where(greater(x, 0), x, mul(x, slope));
export const relu6 = (x: Tensor): Tensor => clip(x, 0, 6);
export const elu = (x: Tensor, alpha = 1): Tensor =>
  where(greater(x, 0), x, mul(sub(exp(clip(x, -Infinity, 0)), 1), alpha));
export const hardSigmoid = (x: Tensor, alpha = 1 / 6, beta = 0.5): Tensor => clip(add(mul(x, alpha), beta), 0, 1);
export const hardSwish = (x: Tensor): Tensor => mul(x, hardSigmoid(x));
export const prelu = (x: Tensor, slope: Tensor): Tensor => where(greater(x, 0), x, mul(x, slope));

/** eˣ / Σ eˣ along an axis. */
export function softmax(x: Tensor, axis = -1): Tensor {
  const at = normalizeAxes('Softmax', x.rank, [axis])[0]!;
  const back = (g: Tensor): Tensor => {
    const weighted = mul(g, y);
    return sub(weighted, mul(y, sum(weighted, { axes: [at], keepDims: true })));
  };
  const y: Tensor = apply({ op: 'Softmax', inputs: [x], attributes: { axis: at }, vjps: [back] }, x.shape, x.dtype);
  return y;
}

/** log softmax along an axis. */
export function logSoftmax(x: Tensor, axis = -1): Tensor {
  const at = normalizeAxes('LogSoftmax', x.rank, [axis])[0]!;
  const back = (g: Tensor): Tensor => sub(g, mul(softmax(x, at), sum(g, { axes: [at], keepDims: true })));
  return apply({ op: 'LogSoftmax', inputs: [x], attributes: { axis: at }, vjps: [back] }, x.shape, x.dtype);
}

