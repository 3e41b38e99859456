/** @file What `bench engine` measures: operators and blocks at the sizes of Stable Diffusion 1.5 at 512 × 512. */
import { gelu, silu, softmax } from '../src/graph/ops/activation.js';
import { mul } from '../src/graph/ops/arithmetic.js';
import { attention } from '../src/graph/ops/attention.js';
import { conv2d } from '../src/graph/ops/conv.js';
import { reshape, split, transpose } from '../src/graph/ops/layout.js';
import { linear } from '../src/graph/ops/matmul.js';
import { groupNorm, layerNorm } from '../src/graph/ops/norm.js';
import type { Tensor } from '../src/graph/tensor.js';
import { HEADS, residualBlock, transformerBlock } from './blocks.js';
import type { Block } from './blocks.js';

export type Kind =
  | 'linear' | 'convolution' | 'groupNormSilu' | 'layerNorm' | 'softmax' | 'geglu' | 'attention' | 'residual' | 'transformer';

/** A case in numbers; bench/reference_engine.py builds the same from it. */
export interface CaseSpec {
  readonly kind: Kind;
  readonly batch: number;
  readonly channels: number;
  /** Side of an image, or number of tokens. */
  readonly size: number;
  /** Outputs of a linear layer. */
  readonly out?: number;
  readonly kernel?: number;
}

export type Mode = 'forward' | 'training';

/** An operator as a block: frozen weights, gradient by the input. Without `flops`, only its time is of interest. */
function operator(shape: readonly number[], trace: Block['trace'], forward = 0, training = 2 * forward): Block {
  return { shape, trace, flops: { forward, training } };
}

const KINDS: Readonly<Record<Kind, (s: CaseSpec) => Block>> = {
  linear: ({ batch, channels, size, out = channels }) =>
    operator(
      [batch * size, channels],
      (x, from) => linear(x, from.frozen('weight', [out, channels]), from.frozen('bias', [out])),
      2 * batch * size * channels * out,
    ),
  convolution: ({ batch, channels, size, kernel = 3 }) =>
    operator(
      [batch, channels, size, size],
      (x, from) =>
        conv2d(x, from.frozen('weight', [channels, channels, kernel, kernel]), from.frozen('bias', [channels]), {
          padding: Math.floor(kernel / 2),
        }),
      2 * batch * channels * channels * kernel * kernel * size * size,
    ),
  groupNormSilu: ({ batch, channels, size }) =>
    operator([batch, channels, size, size], (x, from) =>
      silu(groupNorm(x, 32, from.frozen('scale', [channels]), from.frozen('shift', [channels])))),
  layerNorm: ({ batch, channels, size }) =>
    operator([batch, size, channels], (x, from) => layerNorm(x, from.frozen('scale', [channels]), from.frozen('shift', [channels]))),
  softmax: ({ batch, size }) => operator([batch * HEADS, size, size], (x) => softmax(x)),
  geglu: ({ batch, channels, size }) =>
    operator([batch, size, 8 * channels], (x) => {
      const [value, gate] = split(x, [4 * channels, 4 * channels], -1) as [Tensor, Tensor];
      return mul(value, gelu(gate));
    }),
  attention: ({ batch, channels, size }) =>
    operator(
      [batch, size, channels],
      (x) => {
        const heads = transpose(reshape(x, [batch, size, HEADS, channels / HEADS]), [0, 2, 1, 3]);
        return reshape(transpose(attention(heads, heads, heads), [0, 2, 1, 3]), x.shape);
      },
      4 * batch * size * size * channels,
      12 * batch * size * size * channels,
    ),
  residual: ({ batch, channels, size }) => residualBlock(channels, size, batch),
  transformer: ({ batch, channels, size }) => transformerBlock(channels, size, batch),
};

export const blockOf = (spec: CaseSpec): Block => KINDS[spec.kind](spec);

/** `residual 320 @ 64`, with what else tells two cases apart. */
export function nameOf({ kind, batch, channels, size, out, kernel }: CaseSpec): string {
  const detail = [batch > 1 ? `batch ${batch}` : '', out ? `to ${out}` : '', kernel ? `${kernel}x${kernel}` : ''].filter(Boolean);
  return `${kind} ${channels} @ ${size}${detail.length > 0 ? ` (${detail.join(', ')})` : ''}`;
}

/** Channels, image side and tokens at the three resolutions with attention. */
const LEVELS = [[320, 64], [640, 32], [1280, 16]] as const;

const at = (kind: Kind, channels: number, size: number, more: Partial<CaseSpec> = {}): CaseSpec => ({ kind, batch: 1, channels, size, ...more });

export const CASES: readonly CaseSpec[] = [
  ...LEVELS.map(([c, s]) => at('convolution', c, s, { kernel: 3 })),
  ...LEVELS.map(([c, s]) => at('linear', c, s * s, { out: 8 * c })),
  ...LEVELS.map(([c, s]) => at('attention', c, s * s)),
  at('groupNormSilu', 320, 64),
  at('layerNorm', 320, 4096),
  at('softmax', 640, 1024),
  at('geglu', 320, 4096),
  ...LEVELS.map(([c, s]) => at('residual', c, s)),
  ...LEVELS.map(([c, s]) => at('transformer', c, s * s)),
];
