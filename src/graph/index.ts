/** @file The graph layer's public face: tensors, operators, gradients, and ONNX models of them. */
export { bytesPerElement, fromFloat32, host, isFloat, sizeOf, toFloat32, zeros } from './dtype.js';
export type { DType, HostTensor, Shape, TypedArray } from './dtype.js';
export { TraceError, describeShape } from './errors.js';
export { Tensor, constant, full, input, literal, weight } from './tensor.js';
export type { Operand } from './tensor.js';
export { checkpoint, grad, stopGradient, straightThrough, valueAndGrad, vjp } from './grad.js';

export {
  abs, add, and, cast, ceil, clip, cos, div, equal, erf, exp, floor, greater, greaterEqual, less, lessEqual, log,
  logSigmoid, maximum, minimum, mod, mul, neg, not, or, pow, reciprocal, roundHalfEven, rsqrt, sigmoid, sign, sin,
  softplus, sqrt, square, sub, tanh, where,
} from './ops/arithmetic.js';
export {
  elu, gelu, geluTanh, hardSigmoid, hardSwish, leakyRelu, logSoftmax, prelu, quickGelu, relu, relu6, silu, softmax,
} from './ops/activation.js';
export { attention } from './ops/attention.js';
export type { AttentionOptions } from './ops/attention.js';
export { conv2d, convTranspose2d } from './ops/conv.js';
export type { ConvOptions, ConvTransposeOptions, Padding } from './ops/conv.js';
export { cumSum } from './ops/cumulative.js';
export type { CumulativeOptions } from './ops/cumulative.js';
export { addAlong, embedding, gather, oneHot, takeAlong } from './ops/gather.js';
export { gatherNd, putAlong, scatterNd } from './ops/gather-nd.js';
export {
  concat, expand, flatten, flip, narrow, pad, reshape, slice, split, squeeze, stack, swapLast, tile, transpose,
  unsqueeze,
} from './ops/layout.js';
export type { PadMode } from './ops/layout.js';
export { gemm, linear, matmul } from './ops/matmul.js';
export { batchNorm, groupNorm, layerNorm, normalize, rmsNorm } from './ops/norm.js';
export { adaptiveAvgPool2d, avgPool2d, globalAvgPool2d, globalMaxPool2d, maxPool2d } from './ops/pool.js';
export type { PoolOptions } from './ops/pool.js';
export { logSumExp, max, mean, min, norm, sum, variance } from './ops/reduce.js';
export type { ReduceOptions } from './ops/reduce.js';
export { resize, upsampleNearest } from './ops/resize.js';
export type { ResizeMode, ResizeOptions } from './ops/resize.js';
export { roundSmooth, roundStraightThrough } from './ops/rounding.js';
export { argMax, argMin, topK } from './ops/topk.js';

export { exportOnnx } from './onnx/export.js';
export type { Graph } from './onnx/export.js';
export { importModel } from './onnx/import.js';
export type { ImportOptions, OnnxFunction, Port } from './onnx/import.js';
