/** @file ONNX activation functions and softmax. */
import { sizeOf } from '../../dtype.js';
import {
  elu, gelu, geluTanh, hardSigmoid, leakyRelu, logSoftmax, prelu, relu, silu, softmax,
} from '../../ops/activation.js';
import {
  abs, add, div, exp, greater, minimum, mul, sigmoid, softplus, sub, tanh, where,
} from '../../ops/arithmetic.js';
import { reshape } from '../../ops/layout.js';
import type { Tensor } from '../../tensor.js';
import type { Call, Operator } from '../call.js';

/** Up to operator set 12 the axis (1 by default) splits the tensor into a matrix, whose rows are normalised. */
const along = (f: (x: Tensor, axis: number) => Tensor): Operator => (c) => {
  const x = c.x(0);
  if (c.opset >= 13) return f(x, c.int('axis', -1));
  const axis = c.int('axis', 1);
  const at = axis < 0 ? axis + x.rank : axis;
  return reshape(f(reshape(x, [sizeOf(x.shape.slice(0, at)), sizeOf(x.shape.slice(at))]), 1), x.shape);
};

function geluOf(c: Call): Tensor {
  const kind = c.string('approximate', 'none');
  if (kind !== 'none' && kind !== 'tanh') c.fail(`approximation ${kind} is not supported`);
  return kind === 'none' ? gelu(c.x(0)) : geluTanh(c.x(0));
}

/** gamma · elu(x, alpha). */
function selu(c: Call): Tensor {
  const [alpha, gamma] = [c.float('alpha', 1.6732632423543772), c.float('gamma', 1.0507009873554805)];
  return mul(elu(c.x(0), alpha), gamma);
}

/** x for x > 0, else alpha·(e^(x/alpha) − 1). */
function celu(c: Call): Tensor {
  const x = c.x(0);
  const alpha = c.float('alpha', 1);
  return where(greater(x, 0), x, mul(sub(exp(div(minimum(x, 0), alpha)), 1), alpha));
}

function swish(c: Call): Tensor {
  const x = c.x(0);
  const alpha = c.float('alpha', 1);
  return alpha === 1 ? silu(x) : mul(x, sigmoid(mul(x, alpha)));
}

export const activation: Readonly<Record<string, Operator>> = {
  Relu: (c) => relu(c.x(0)),
  LeakyRelu: (c) => leakyRelu(c.x(0), c.float('alpha', 0.01)),
  PRelu: (c) => prelu(c.x(0), c.x(1)),
  ThresholdedRelu: (c) => where(greater(c.x(0), c.float('alpha', 1)), c.x(0), 0),
  Elu: (c) => elu(c.x(0), c.float('alpha', 1)),
  Selu: selu,
  Celu: celu,
  Gelu: geluOf,
  Swish: swish,
  Mish: (c) => mul(c.x(0), tanh(softplus(c.x(0)))),
  HardSigmoid: (c) => hardSigmoid(c.x(0), c.float('alpha', 0.2), c.float('beta', 0.5)),
  HardSwish: (c) => mul(c.x(0), hardSigmoid(c.x(0))),
  Softplus: (c) => softplus(c.x(0)),
  Softsign: (c) => div(c.x(0), add(abs(c.x(0)), 1)),
  Softmax: along(softmax),
  LogSoftmax: along(logSoftmax),
};
