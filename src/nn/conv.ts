/** @file The convolution layer, with what adapters add to it. */
import { conv2d } from '../graph/ops/conv.js';
import type { Padding } from '../graph/ops/conv.js';
import type { Tensor } from '../graph/tensor.js';
import { adapted, enter } from './scope.js';
import type { Scope } from './scope.js';

export interface ConvLayerOptions {
  /** Side of the square kernel. */
  kernel?: number;
  stride?: number;
  /** What keeps the size at stride 1, by default. */
  padding?: Padding;
  bias?: boolean;
}

/**
 * Convolution with weights `weight` [out, in, kernel, kernel] and `bias` [out].
 *
 * @param x [B, in, H, W]
 * @returns [B, out, H', W']
 */
export function conv(scope: Scope, x: Tensor, outChannels: number, options: ConvLayerOptions = {}): Tensor {
  const { kernel = 3, stride = 1, padding = kernel >> 1, bias = true } = options;
  const shape = [outChannels, x.shape[1]!, kernel, kernel];
  const w = scope.weight('weight', shape);
  const y = conv2d(enter(scope, x), w, bias ? scope.weight('bias', [outChannels]) : undefined, { stride, padding });
  return adapted(scope, x, y, (adapter, wide) => adapter.conv(scope.path, wide, shape, stride, padding));
}
