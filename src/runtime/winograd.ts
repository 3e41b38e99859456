/**
 * @file 3 × 3 convolution by Winograd's minimal filtering F(2 × 2, 3 × 3) (Lavin & Gray, arXiv 1509.09308): 16 products of
 * channels for each tile of 2 × 2 outputs instead of 36. All of it runs in ONNX Runtime's blocked layout: the input
 * transform is sixteen depthwise convolutions of 2 × 2 taps, the products are 1 × 1 convolutions.
 */
import { add, sub } from '../graph/ops/arithmetic.js';
import { reshape, split } from '../graph/ops/layout.js';
import { matmul } from '../graph/ops/matmul.js';
import { apply, literal } from '../graph/tensor.js';
import type { Node, Tensor } from '../graph/tensor.js';
import { BLOCKED, blockedKernel, interleave } from './blocked-layout.js';

/**
 * The input transform of one axis, Bᵀd: two of a tile's four rows each, `first + sign · second`. (Its third row has the
 * other sign than in the paper, and so has the kernel's.)
 */
const TAPS = [{ first: 0, second: 2, sign: -1 }, { first: 1, second: 2, sign: 1 }, { first: 1, second: 2, sign: -1 }, { first: 1, second: 3, sign: -1 }] as const;
/** The kernel transform of one axis, G·g, with the sign of the third row as above and that of the fourth turned too. */
const KERNEL = [[1, 0, 0], [0.5, 0.5, 0.5], [-0.5, 0.5, -0.5], [0, 0, -1]] as const;

/** Narrower convolutions spend more on the transforms than they save on products. */
const CHANNELS = 96;
/** With fewer output positions the transformed kernels, 16/9 as large as the kernel, are what takes the time. */
const POSITIONS = 256;
/** On larger images the transforms go through memory, not the cache, and take what the products save. */
const BYTES = 64 * 2 ** 20;

/** Whether a convolution can be computed so, and faster (docs/decisions.md), if its transformed kernel need not be made at each run. */
export function suitsWinograd({ attributes, inputs, outputs }: Node): boolean {
  const [o, c, kh, kw] = inputs[1]!.shape as [number, number, number, number];
  const { shape } = outputs[0]!;
  const [n, , h, w] = shape as [number, number, number, number];
  const plain = kh === 3 && kw === 3 && ['strides', 'dilations', 'pads'].every((a) => (attributes[a] as number[]).every((v) => v === 1));
  const positions = n * h * w;
  return plain && h % 2 === 0 && w % 2 === 0 && Math.min(o, c) >= CHANNELS && positions >= POSITIONS && positions * Math.max(o, c) * 4 <= BYTES;
}

/** The sixteen transformed kernels, each [O, C, 1, 1] in blocks. */
function transformedKernels(w: Tensor, block: number): Tensor[] {
  const [o, c] = w.shape as [number, number];
  const taps = [...Array(9).keys()];
  const rows = KERNEL.flatMap((a) => KERNEL.flatMap((b) => taps.map((t) => a[Math.floor(t / 3)]! * b[t % 3]!)));
  const tiles = reshape(blockedKernel(w, block), [(o * c) / block ** 2, 9, block ** 2]);
  const parts = split(matmul(literal(rows, [16, 9], w.dtype), tiles), new Array<number>(16).fill(1), 1);
  return parts.map((part) => reshape(part, [o, c, 1, 1]));
}

/** A depthwise kernel [C, 1, 2, 2] with the same taps for every channel, in blocks. */
function depthwise(c: number, block: number, below: number, right: number): Tensor {
  const taps = [1, right, below, below * right];
  return literal(Array.from({ length: 4 * c }, (_, i) => taps[Math.floor(i / block) % 4]!), [c, 1, 2, 2]);
}

/** Makes each depthwise kernel once. */
export function depthwiseKernels(block: number): (c: number, below: number, right: number) => Tensor {
  const made = new Map<string, Tensor>();
  return (c, below, right) => {
    const key = `${c} ${below} ${right}`;
    const kernel = made.get(key) ?? depthwise(c, block, below, right);
    made.set(key, kernel);
    return kernel;
  };
}

/**
 * Convolution with kernel w, padded by one on all sides.
 *
 * @param x [N, C, H, W] in blocked layout, H and W even
 * @param w [O, C, 3, 3] in plain layout
 * @param b [O]
 * @param taps of `depthwiseKernels`
 * @returns [N, O, H, W] in blocked layout
 */
export function winograd(x: Tensor, w: Tensor, b: Tensor | undefined, block: number, taps: ReturnType<typeof depthwiseKernels>): Tensor {
  const [n, c, height, width] = x.shape as [number, number, number, number];
  const o = w.shape[0]!;
  const [th, tw] = [height / 2, width / 2];
  const kernels = transformedKernels(w, block);
  const tiles = (i: number, j: number): Tensor => {
    const [down, across] = [TAPS[i]!, TAPS[j]!];
    const attributes = {
      kernel_shape: [2, 2],
      strides: [2, 2],
      dilations: [down.second - down.first, across.second - across.first],
      // A tile starts one row above the outputs it makes.
      pads: [1 - down.first, 1 - across.first, i === 3 ? 1 : 0, j === 3 ? 1 : 0],
      group: c,
    };
    return apply({ op: 'Conv', domain: BLOCKED, inputs: [x, taps(c, down.sign, across.sign)], attributes }, [n, c, th, tw]);
  };
  /** Element (i, j) of the transformed outputs, plus `more`. Element (1, 1) counts once in all four outputs, so has the bias. */
  const product = (i: number, j: number, more?: Tensor): Tensor => {
    const bias = i === 1 && j === 1 && b ? b : null;
    const inputs = [tiles(i, j), kernels[4 * i + j]!, ...(more ? [bias, more] : bias ? [bias] : [])];
    const attributes = { kernel_shape: [1, 1], strides: [1, 1], dilations: [1, 1], pads: [0, 0, 0, 0], group: 1 };
    return apply({ op: 'Conv', domain: BLOCKED, inputs, attributes }, [n, o, th, tw]);
  };
  // The output transform Aᵀm of one axis: m₀ + m₁ + m₂ and m₁ − m₂ − m₃ (the kernel's fourth row has the sign).
  const columns = TAPS.map((_, j): [Tensor, Tensor] => {
    const [m1, m2] = [product(1, j), product(2, j)];
    return [product(0, j, add(m1, m2)), product(3, j, sub(m1, m2))];
  });
  return interleave(([0, 1] as const).map((p) => {
    const [m0, m1, m2, m3] = columns.map((column) => column[p]) as [Tensor, Tensor, Tensor, Tensor];
    return [add(m0, add(m1, m2)), add(sub(m1, m2), m3)];
  }), block);
}
