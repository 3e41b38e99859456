/** @file Puts operators after what they read; some exporters append operators at the end of the list. */
import type { GraphMessage, NodeMessage } from './decode.js';

/** Names that an operator reads, its branches included (which may read values of the graph around them). */
function namesRead(node: NodeMessage): string[] {
  const names: string[] = [];
  const graphs: GraphMessage[] = [];
  const add = (n: NodeMessage): void => {
    for (const name of n.input) names.push(name);
    for (const { g } of n.attribute) if (g) graphs.push(g);
  };
  add(node);
  for (let g = graphs.pop(); g; g = graphs.pop()) {
    g.node.forEach(add);
    for (const { name } of g.output) names.push(name);
  }
  return names;
}

/**
 * The operators of one graph, each after those that make what it reads, otherwise in their order.
 *
 * @param cycle is told an operator that depends on itself
 */
export function inOrder(nodes: readonly NodeMessage[], cycle: (node: NodeMessage) => never): NodeMessage[] {
  const maker = new Map<string, NodeMessage>();
  for (const node of nodes) for (const name of node.output) if (name !== '') maker.set(name, node);
  const order: NodeMessage[] = [];
  const state = new Map<NodeMessage, 'open' | 'done'>();
  const stack: { node: NodeMessage; reads: string[] }[] = [];
  const visit = (node: NodeMessage): void => {
    if (state.get(node) === 'done') return;
    if (state.get(node) === 'open') cycle(node);
    state.set(node, 'open');
    stack.push({ node, reads: namesRead(node).toReversed() });
  };
  for (const node of nodes) {
    visit(node);
    for (let top = stack.at(-1); top; top = stack.at(-1)) {
      const name = top.reads.pop();
      const from = name === undefined ? undefined : maker.get(name);
      if (from) visit(from);
      else if (name === undefined) {
        stack.pop();
        state.set(top.node, 'done');
        order.push(top.node);
      }
    }
  }
  return order;
}
