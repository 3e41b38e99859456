/**
 * @file Transposed convolution of stride 2, which is the input gradient of a strided convolution: the outputs of even and
 * odd rows and columns are four plain convolutions with every second tap of the kernel, together as many products as the
 * strided convolution has. ONNX Runtime's own operator multiplies patches and adds them up, at about half the speed.
 */
import { flip, slice, transpose } from '../graph/ops/layout.js';
import { apply } from '../graph/tensor.js';
import type { Node, Tensor } from '../graph/tensor.js';
import { BLOCKED, blockedKernel, interleave } from './blocked-layout.js';

/** The taps of one axis that make the outputs `parity`, `parity` + 2, …: how many, from which on, and the padding around the input. */
interface Phase {
  readonly first: number;
  readonly taps: number;
  readonly before: number;
  readonly after: number;
}

/** Output u = 2n + parity is Σ input[(u + pad − i)/2] · kernel[i] over the taps i that make the place whole. */
function phase(parity: number, kernel: number, pad: number, input: number, output: number): Phase {
  const first = (parity + pad) % 2;
  const taps = Math.ceil((kernel - first) / 2);
  const start = (parity + pad - first) / 2;
  return { first, taps, before: taps - 1 - start, after: start + output / 2 - input };
}

/** The phases of both axes, [vertical, horizontal][parity]. */
function phases({ attributes, inputs, outputs }: Node): readonly (readonly Phase[])[] {
  const [x, w] = inputs as [Tensor, Tensor];
  return [2, 3].map((axis) => [0, 1].map((parity) =>
    phase(parity, w.shape[axis]!, (attributes['pads'] as number[])[axis - 2]!, x.shape[axis]!, outputs[0]!.shape[axis]!)));
}

/** Whether a transposed convolution with a frozen kernel can be computed so. */
export function suitsPhases(node: Node, block: number): boolean {
  const { op, domain, attributes, inputs, outputs } = node;
  if (op !== 'ConvTranspose' || domain !== '' || attributes['group'] !== 1 || inputs[0]!.dtype !== 'float32') return false;
  const [into, out] = inputs[1]!.shape as [number, number];
  const all = (name: string, value: number): boolean => (attributes[name] as number[]).every((v) => v === value);
  if (into % block !== 0 || out % block !== 0 || !all('strides', 2) || !all('dilations', 1)) return false;
  if (outputs[0]!.shape.slice(2).some((d) => d % 2 !== 0)) return false;
  return phases(node).flat().every(({ taps, before, after }) => taps > 0 && before >= 0 && after >= 0);
}

/**
 * @param node the transposed convolution
 * @param x [N, I, H, W] in blocked layout
 * @param w [I, O, kh, kw] in plain layout
 * @param b [O]
 * @returns [N, O, H', W'] in blocked layout
 */
export function transposedByPhases(node: Node, x: Tensor, w: Tensor, b: Tensor | undefined, block: number): Tensor {
  const [n, o, height, width] = node.outputs[0]!.shape as [number, number, number, number];
  const [vertical, horizontal] = phases(node) as [readonly Phase[], readonly Phase[]];
  return interleave(vertical.map((v) => horizontal.map((h) => {
    const taps = slice(w, [0, 0, v.first, h.first], w.shape, [1, 1, 2, 2]);
    const kernel = blockedKernel(transpose(flip(taps, [2, 3]), [1, 0, 2, 3]), block); // [O, I, taps, taps]
    const attributes = {
      kernel_shape: [v.taps, h.taps],
      strides: [1, 1],
      dilations: [1, 1],
      pads: [v.before, h.before, v.after, h.after],
      group: 1,
    };
    return apply({ op: 'Conv', domain: BLOCKED, inputs: b ? [x, kernel, b] : [x, kernel], attributes }, [n, o, height / 2, width / 2]);
  })), block);
}
