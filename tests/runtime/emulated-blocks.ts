/**
 * @file The operators of ONNX Runtime's blocked layout for blocks of any size, made of plain ones: what a graph that was
 * lowered for another processor computes can be checked on this one.
 */
import type { Graph } from '../../src/graph/onnx/export.js';
import { add } from '../../src/graph/ops/arithmetic.js';
import { reshape, transpose } from '../../src/graph/ops/layout.js';
import { apply } from '../../src/graph/tensor.js';
import type { Node, Tensor } from '../../src/graph/tensor.js';
import { BLOCKED } from '../../src/runtime/blocked-layout.js';
import { rewrite } from '../../src/runtime/rewrite.js';

/** [N, C, H, W] into the memory order [N, C/b, H, W, b]. */
function toBlocks(x: Tensor, b: number): Tensor {
  const [n, c, h, w] = x.shape as [number, number, number, number];
  if (c % b !== 0) throw new Error(`${c} channels do not fill blocks of ${b}`);
  return reshape(transpose(reshape(x, [n, c / b, b, h, w]), [0, 1, 3, 4, 2]), x.shape);
}

function fromBlocks(x: Tensor, b: number): Tensor {
  const [n, c, h, w] = x.shape as [number, number, number, number];
  return reshape(transpose(reshape(x, [n, c / b, h, w, b]), [0, 1, 4, 2, 3]), x.shape);
}

/** The plain kernel of one in blocks, [O/b, C/b, kh, kw, b in, b out]; depthwise, [C/b, kh, kw, b]. */
function plainKernel(kernel: Tensor, b: number, depthwise: boolean): Tensor {
  const [o, c, kh, kw] = kernel.shape as [number, number, number, number];
  if (depthwise) return reshape(transpose(reshape(kernel, [o / b, kh, kw, b]), [0, 3, 1, 2]), kernel.shape);
  return reshape(transpose(reshape(kernel, [o / b, c / b, kh, kw, b, b]), [0, 5, 1, 4, 2, 3]), kernel.shape);
}

function convolution(node: Node, [x, kernel, bias, more]: readonly (Tensor | null)[], b: number): Tensor {
  const plain = plainKernel(kernel!, b, node.attributes['group'] !== 1);
  const inputs = [fromBlocks(x!, b), plain, ...(bias ? [bias] : [])];
  const y = toBlocks(apply({ op: 'Conv', inputs, attributes: node.attributes }, node.outputs[0]!.shape), b);
  return more ? add(y, more) : y;
}

/** The graph with its operators in blocks of `b` replaced by plain ones. */
export function emulateBlocks<G extends Graph>(graph: G, b: number): G {
  return rewrite(graph, (node, inputs) => {
    if (node.domain !== BLOCKED) return null;
    if (node.op === 'ReorderInput') return [toBlocks(inputs[0]!, b)];
    if (node.op === 'ReorderOutput') return [fromBlocks(inputs[0]!, b)];
    return [convolution(node, inputs, b)];
  });
}
