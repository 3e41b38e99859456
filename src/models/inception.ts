/**
 * @file Inception v3 as FID takes it: the weights of TensorFlow's inception-2015-12-05, in the layout of pytorch-fid's
 * pt_inception-2015-12-05-6726825d.pth (torchvision's names, which are ours).
 */
import { relu } from '../graph/ops/activation.js';
import { mul, sub } from '../graph/ops/arithmetic.js';
import { conv2d } from '../graph/ops/conv.js';
import type { Padding } from '../graph/ops/conv.js';
import { concat } from '../graph/ops/layout.js';
import { batchNorm } from '../graph/ops/norm.js';
import { avgPool2d, maxPool2d } from '../graph/ops/pool.js';
import { mean } from '../graph/ops/reduce.js';
import { resize } from '../graph/ops/resize.js';
import type { Tensor } from '../graph/tensor.js';
import type { Scope } from '../nn/scope.js';


const SIDE = 299;

/** How pictures become 299 pixels square: pytorch-fid's bilinear filter without antialiasing, or clean-fid's bicubic with it (arXiv 2104.11222). */
export const INCEPTION_RESIZE = {
  'pytorch-fid': (images: Tensor) => resize(images, [SIDE, SIDE], { mode: 'linear' }),
  clean: (images: Tensor) => resize(images, [SIDE, SIDE], { mode: 'cubic', antialias: true }),
} as const;
export type InceptionResize = keyof typeof INCEPTION_RESIZE;

interface Unit {
  kernel?: number | readonly [number, number];
  stride?: number;
  padding?: Padding;
}

/** Convolution, frozen batch norm, ReLU. */
function unit(scope: Scope, x: Tensor, channels: number, { kernel = 1, stride = 1, padding = 0 }: Unit = {}): Tensor {
  const [h, w] = typeof kernel === 'number' ? [kernel, kernel] : kernel;
  const y = conv2d(x, scope.at('conv').weight('weight', [channels, x.shape[1]!, h, w]), undefined, { stride, padding });
  const bn = scope.at('bn');
  const [gain, shift, mu, variance] = ['weight', 'bias', 'running_mean', 'running_var'].map((name) => bn.weight(name, [channels]));
  return relu(batchNorm(y, gain!, shift!, mu!, variance!, 1e-3));
}

/** TensorFlow's mean of a window: what lies beyond the edge is not counted. */
const average = (x: Tensor): Tensor => avgPool2d(x, { kernel: 3, stride: 1, padding: 1, countPadding: false });
const halved = (x: Tensor): Tensor => maxPool2d(x, { kernel: 3, stride: 2 });

function blockA(s: Scope, x: Tensor, pooled: number): Tensor {
  const five = unit(s.at('branch5x5_2'), unit(s.at('branch5x5_1'), x, 48), 64, { kernel: 5, padding: 2 });
  const three = unit(s.at('branch3x3dbl_2'), unit(s.at('branch3x3dbl_1'), x, 64), 96, { kernel: 3, padding: 1 });
  return concat([
    unit(s.at('branch1x1'), x, 64), five, unit(s.at('branch3x3dbl_3'), three, 96, { kernel: 3, padding: 1 }),
    unit(s.at('branch_pool'), average(x), pooled),
  ], 1);
}

function blockB(s: Scope, x: Tensor): Tensor {
  const three = unit(s.at('branch3x3dbl_2'), unit(s.at('branch3x3dbl_1'), x, 64), 96, { kernel: 3, padding: 1 });
  return concat([
    unit(s.at('branch3x3'), x, 384, { kernel: 3, stride: 2 }), unit(s.at('branch3x3dbl_3'), three, 96, { kernel: 3, stride: 2 }), halved(x),
  ], 1);
}

const WIDE = { kernel: [1, 7], padding: [0, 3] } as const;
const TALL = { kernel: [7, 1], padding: [3, 0] } as const;

function blockC(s: Scope, x: Tensor, c: number): Tensor {
  const chain = (from: Tensor, steps: readonly [name: string, channels: number, shape: Unit][]): Tensor =>
    steps.reduce((y, [name, channels, shape]) => unit(s.at(name), y, channels, shape), from);
  return concat([
    unit(s.at('branch1x1'), x, 192),
    chain(x, [['branch7x7_1', c, {}], ['branch7x7_2', c, WIDE], ['branch7x7_3', 192, TALL]]),
    chain(x, [['branch7x7dbl_1', c, {}], ['branch7x7dbl_2', c, TALL], ['branch7x7dbl_3', c, WIDE], ['branch7x7dbl_4', c, TALL], ['branch7x7dbl_5', 192, WIDE]]),
    unit(s.at('branch_pool'), average(x), 192),
  ], 1);
}

function blockD(s: Scope, x: Tensor): Tensor {
  const seven = unit(s.at('branch7x7x3_3'), unit(s.at('branch7x7x3_2'), unit(s.at('branch7x7x3_1'), x, 192), 192, WIDE), 192, TALL);
  return concat([
    unit(s.at('branch3x3_2'), unit(s.at('branch3x3_1'), x, 192), 320, { kernel: 3, stride: 2 }),
    unit(s.at('branch7x7x3_4'), seven, 192, { kernel: 3, stride: 2 }), halved(x),
  ], 1);
}

function blockE(s: Scope, x: Tensor, pool: (x: Tensor) => Tensor): Tensor {
  const split = (name: string, y: Tensor): Tensor[] => [
    unit(s.at(`${name}a`), y, 384, { kernel: [1, 3], padding: [0, 1] }), unit(s.at(`${name}b`), y, 384, { kernel: [3, 1], padding: [1, 0] }),
  ];
  const double = unit(s.at('branch3x3dbl_2'), unit(s.at('branch3x3dbl_1'), x, 448), 384, { kernel: 3, padding: 1 });
  return concat([
    unit(s.at('branch1x1'), x, 320), ...split('branch3x3_2', unit(s.at('branch3x3_1'), x, 384)), ...split('branch3x3dbl_3', double),
    unit(s.at('branch_pool'), pool(x), 192),
  ], 1);
}

/**
 * Images [B, 3, H, W] in [0, 1] → the 2048 features of FID [B, 2048]. The last block takes maxima where Inception has
 * means: so does the network that FID was defined with.
 */
export function inceptionFeatures(s: Scope, images: Tensor, how: InceptionResize = 'pytorch-fid'): Tensor {
  let x = sub(mul(INCEPTION_RESIZE[how](images), 2), 1);
  x = unit(s.at('Conv2d_1a_3x3'), x, 32, { kernel: 3, stride: 2 });
  x = unit(s.at('Conv2d_2a_3x3'), x, 32, { kernel: 3 });
  x = halved(unit(s.at('Conv2d_2b_3x3'), x, 64, { kernel: 3, padding: 1 }));
  x = unit(s.at('Conv2d_3b_1x1'), x, 80);
  x = halved(unit(s.at('Conv2d_4a_3x3'), x, 192, { kernel: 3 }));
  x = blockA(s.at('Mixed_5b'), x, 32);
  x = blockA(s.at('Mixed_5c'), x, 64);
  x = blockA(s.at('Mixed_5d'), x, 64);
  x = blockB(s.at('Mixed_6a'), x);
  x = blockC(s.at('Mixed_6b'), x, 128);
  x = blockC(s.at('Mixed_6c'), x, 160);
  x = blockC(s.at('Mixed_6d'), x, 160);
  x = blockC(s.at('Mixed_6e'), x, 192);
  x = blockD(s.at('Mixed_7a'), x);
  x = blockE(s.at('Mixed_7b'), x, average);
  x = blockE(s.at('Mixed_7c'), x, (y) => maxPool2d(y, { kernel: 3, stride: 1, padding: 1 }));
  return mean(x, { axes: [2, 3] });
}
