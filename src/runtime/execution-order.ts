/** @file The order in which ONNX Runtime runs the operators of a graph, by which memory can be foretold. */
import { schedule } from '../graph/onnx/export.js';
import type { Graph } from '../graph/onnx/export.js';
import { resolve } from '../graph/tensor.js';
import type { Node, Tensor } from '../graph/tensor.js';

/**
 * Operators as ONNX Runtime's sequential executor takes them: it walks back from the outputs, the last one first, and
 * into the inputs of an operator from the one that is written last in the file. Constants and inputs are among them.
 */
export function executionOrder(outputs: Graph['outputs']): Node[] {
  const tensors = Object.values(outputs);
  const place = new Map(schedule(tensors).map((node, at) => [node, at]));
  const nodeOf = (t: Tensor): Node => resolve(t).node;
  const order: Node[] = [];
  const seen = new Set<Node>();
  const stack: { node: Node; done: boolean }[] = tensors.map((t) => ({ node: nodeOf(t), done: false }));
  for (let top = stack.pop(); top; top = stack.pop()) {
    const { node, done } = top;
    if (done) order.push(node);
    else if (!seen.has(node)) {
      seen.add(node);
      stack.push({ node, done: true });
      const inputs = new Set(node.inputs.flatMap((t) => (t ? [nodeOf(t)] : [])));
      for (const from of [...inputs].sort((a, b) => place.get(a)! - place.get(b)!)) if (!seen.has(from)) stack.push({ node: from, done: false });
    }
  }
  return order;
}
