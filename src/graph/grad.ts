/**
 * @file Reverse-mode differentiation. The backward graph is made of the same differentiable operators as the forward
 * graph, so a gradient can be differentiated again.
 */
import { describeShape, traceError } from './errors.js';
import { add, cast, mul } from './ops/arithmetic.js';
import { reshape, slice } from './ops/layout.js';
import { customVjp, differentiable, full, nodeCount } from './tensor.js';
import type { Node, Tensor, Vjp } from './tensor.js';

/** Nodes that `outputs` depend on and that depend on one of `sources`, inputs before users; none behind `leaves`. */
function nodesBetween(outputs: readonly Tensor[], sources: readonly Tensor[], leaves: ReadonlySet<Node>): Node[] {
  const wanted = new Set(sources);
  const leads = new Map<Node, boolean>();
  const order: Node[] = [];
  // Depth-first with an explicit stack: graphs are deeper than the call stack allows.
  const stack: { node: Node; next: number; leads: boolean }[] = [];
  const visit = (node: Node): void => {
    if (!leads.has(node)) {
      leads.set(node, false);
      stack.push({ node, next: 0, leads: node.outputs.some((o) => wanted.has(o)) });
    }
  };
  for (const output of outputs) {
    visit(output.node);
    while (stack.length > 0) {
      const top = stack[stack.length - 1]!;
      if (top.next < top.node.inputs.length && !leaves.has(top.node)) {
        const i = top.next++;
        // What an operator is not differentiable in carries nothing back.
        const from = top.node.vjps[i] ? top.node.inputs[i] : null;
        if (from && differentiable(from)) visit(from.node);
        continue;
      }
      stack.pop();
      const { node } = top;
      const leadsOn = (t: Tensor | null, i: number): boolean => t !== null && !!node.vjps[i] && leads.get(t.node)!;
      const flows = top.leads || node.inputs.some(leadsOn);
      leads.set(node, flows);
      if (flows) order.push(node);
    }
  }
  return order;
}

/**
 * Vector–Jacobian product: the gradients of Σᵢ ⟨cotangentᵢ, outputᵢ⟩ by each of `wrt`, in `wrt`'s shapes. A tensor that
 * the outputs do not depend on gets zeros.
 *
 * @throws TraceError if a cotangent's shape is not its output's.
 */
export function vjp(outputs: readonly Tensor[], wrt: readonly Tensor[], cotangents: readonly Tensor[]): Tensor[] {
  return pullBack(outputs, wrt, cotangents, new Set());
}

/** `vjp` that does not look at what made `leaves`. */
function pullBack(
  outputs: readonly Tensor[],
  wrt: readonly Tensor[],
  cotangents: readonly Tensor[],
  leaves: ReadonlySet<Node>,
): Tensor[] {
  if (cotangents.length !== outputs.length) {
    traceError('vjp', `${cotangents.length} cotangents for ${outputs.length} outputs`);
  }
  const order = nodesBetween(outputs, wrt, leaves);
  const leading = new Set(order);
  const grads = new Map<Tensor, Tensor>();
  const accumulate = (t: Tensor, g: Tensor, by: string): void => {
    if (describeShape(t.shape) !== describeShape(g.shape)) {
      traceError('vjp', `gradient ${describeShape(g.shape)} for a tensor ${describeShape(t.shape)} (by ${by})`);
    }
    const before = grads.get(t);
    grads.set(t, before ? add(before, g) : g);
  };
  outputs.forEach((output, i) => accumulate(output, cotangents[i]!, 'the caller'));
  for (const node of order.toReversed()) {
    const all = node.outputs.map((o) => grads.get(o));
    const first = all.find((g) => g !== undefined);
    if (first === undefined || leaves.has(node)) continue;
    node.inputs.forEach((from, i) => {
      const rule = node.vjps[i];
      if (!from || !rule || !differentiable(from) || !leading.has(from.node)) return;
      accumulate(from, rule(all[0] ?? first, all), node.op);
    });
  }
  return wrt.map((t) => grads.get(t) ?? full(t.shape, 0, t.dtype));
}

/**
 * Gradient of a scalar by each of `wrt`.
 *
 * @throws TraceError if `loss` is not a scalar.
 */
export function grad(loss: Tensor, wrt: readonly Tensor[]): Tensor[] {
  if (loss.size !== 1) traceError('grad', `the loss must be one number, not ${loss}; sum or average it first`);
  return vjp([loss], wrt, [full(loss.shape, 1, loss.dtype)]);
}

/** `f(...wrt)` and its gradient by each argument. */
export function valueAndGrad(
  f: (...wrt: Tensor[]) => Tensor,
  wrt: readonly Tensor[],
): { value: Tensor; grads: Tensor[] } {
  const value = f(...wrt);
  return { value, grads: grad(value, wrt) };
}

/** The same value; no gradient passes. */
export function stopGradient(x: Tensor): Tensor {
  return customVjp([x])[0]!;
}

/** The value of `value` with the gradient of `like` (same shape): a straight-through estimator. */
export function straightThrough(value: Tensor, like: Tensor): Tensor {
  return customVjp([value], [like], [(g) => g])[0]!;
}

/**
 * What a function closed over: tensors older than `start` that the nodes made since then differentiate by, and inputs of
 * any age, as a layer may ask for its weights the first time it is traced.
 */
function captured(outputs: readonly Tensor[], start: number): Set<Tensor> {
  const found = new Set<Tensor>();
  const seen = new Set<Node>();
  const stack = [...outputs];
  while (stack.length > 0) {
    const t = stack.pop()!;
    if (!differentiable(t)) continue;
    if (t.node.id < start || t.node.op === '@input') found.add(t);
    else if (!seen.has(t.node)) {
      seen.add(t.node);
      t.node.inputs.forEach((from, i) => from && t.node.vjps[i] && stack.push(from));
    }
  }
  return found;
}

/** `value`, known by a new name whose gradient goes to `x`. */
function alias(x: Tensor, value = x): Tensor {
  return differentiable(x) ? customVjp([value], [x], [(g) => g])[0]! : x;
}

/**
 * Runs `f` without keeping what happens inside it: the backward pass computes it again from the inputs. `f` must be
 * pure (it is traced a second time when a gradient is taken); it may close over other tensors, which get their
 * gradients too. What depends on those alone may be computed early again: pass large activations as `xs`.
 *
 * The copy reads its inputs through `x + 0·g₀`, with g₀ one element of the incoming gradient. So it cannot start before
 * that gradient exists, and no optimiser can merge it with the first computation: that is what lowers the peak memory.
 */
export function checkpoint(f: (...xs: Tensor[]) => Tensor[], xs: readonly Tensor[]): Tensor[] {
  // Under names of their own, the arguments can be told from the same tensors reached by closure.
  const own = xs.map((x) => alias(x));
  const start = nodeCount();
  const values = f(...own);
  const free = [...captured(values, start)].filter((t) => !own.includes(t));
  const recomputed = new Map<string, Tensor[]>();
  const backward = (all: readonly (Tensor | undefined)[]): Tensor[] => {
    const key = all.map((g) => (g ? `${g.node.id}.${g.index}` : '-')).join();
    const known = recomputed.get(key);
    if (known) return known;
    const g = all.find((t) => t !== undefined)!;
    const zero = mul(reshape(slice(g, g.shape.map(() => 0), g.shape.map(() => 1)), []), 0);
    const again = xs.map((x) => alias(x, differentiable(x) ? add(x, cast(zero, x.dtype)) : x));
    const ys = f(...again);
    const flowing = ys.map((_, i) => i).filter((i) => all[i] !== undefined);
    // This segment's gradient ends where the segment began; what made its sources is differentiated outside.
    const ends = [...again, ...free];
    const from = flowing.map((i) => ys[i]!);
    const result = pullBack(from, ends, flowing.map((i) => all[i]!), new Set(ends.map((t) => t.node)));
    recomputed.set(key, result);
    return result;
  };
  const sources = [...xs, ...free];
  return [...customVjp(values, sources, sources.map((_, i): Vjp => (_g, all) => backward(all)[i]!))];
}
