/** @file Which buffers a graph's values get, and from when to when each is held, as ONNX Runtime's planner has it. */
import { bytesPerElement, sizeOf } from '../graph/dtype.js';
import type { Graph } from '../graph/onnx/export.js';
import { resolve } from '../graph/tensor.js';
import type { Node, Tensor } from '../graph/tensor.js';
import { executionOrder } from './execution-order.js';

/** Other shapes of the same numbers, which take no memory of their own. */
const VIEWS = new Set(['Reshape', 'Squeeze', 'Unsqueeze', 'Flatten', 'Identity']);

export interface PlannedBuffer {
  readonly bytes: number;
  /** The first of the values that lie in it. */
  readonly holds: Tensor;
}

/** What an operator does to memory: makes buffers before it runs, and frees those whose values nobody reads afterwards. */
export interface MemoryStep {
  readonly makes: PlannedBuffer[];
  readonly frees: PlannedBuffer[];
}

export const bytesOf = ({ shape, dtype }: Pick<Tensor, 'shape' | 'dtype'>): number => sizeOf(shape) * bytesPerElement(dtype);

/** The tensor whose memory a value lies in. */
function stored(t: Tensor): Tensor {
  let at = resolve(t);
  while (VIEWS.has(at.node.op)) at = resolve(at.node.inputs[0]!);
  return at;
}

export interface PlanRules {
  /**
   * Whether shapes are known to the planner: it then hands a buffer to the next value of the same shape and type, however
   * late that comes, and holds it until then.
   */
  readonly reuse: boolean;
  /** Inputs that each run copies to the device first, where they take buffers too. */
  readonly copied?: (input: Tensor) => boolean;
}

/**
 * The steps of a graph in the order of execution. Constants are not among them, nor what an operator needs inside. Outputs
 * are never freed. No operator of the CPU or WebGPU provider writes over its input.
 */
export function memorySteps(outputs: Graph['outputs'], { reuse, copied = () => false }: PlanRules): MemoryStep[] {
  const own = (node: Node): boolean => (node.op === '@input' ? copied(node.outputs[0]!) : !node.op.startsWith('@') && !VIEWS.has(node.op));
  const order = executionOrder(outputs).filter(own);
  const reads = new Map<Tensor, number>();
  for (const { inputs } of order) for (const t of inputs) if (t) reads.set(stored(t), (reads.get(stored(t)) ?? 0) + 1);
  for (const t of Object.values(outputs)) reads.set(stored(t), Infinity);
  const buffers = new Map<Tensor, PlannedBuffer>();
  const left = new Map<PlannedBuffer, number>();
  const last = new Map<PlannedBuffer, number>();
  const idle = new Map<string, PlannedBuffer[]>();
  const key = ({ shape, dtype }: Tensor): string => `${dtype} ${shape.join()}`;
  const steps = order.map((node, at): MemoryStep => {
    const makes: PlannedBuffer[] = [];
    for (const t of node.outputs) {
      const known = reuse && reads.get(t) !== Infinity ? idle.get(key(t))?.pop() : undefined;
      const buffer = known ?? { bytes: bytesOf(t), holds: t };
      if (!known) makes.push(buffer);
      buffers.set(t, buffer);
      left.set(buffer, reads.get(t) ?? 0);
      last.set(buffer, at);
    }
    for (const t of node.inputs) {
      const from = t && stored(t);
      const buffer = from && buffers.get(from);
      if (!buffer) continue;
      last.set(buffer, at);
      left.set(buffer, left.get(buffer)! - 1);
      if (left.get(buffer) !== 0 || !reuse) continue;
      const same = idle.get(key(from)) ?? [];
      idle.set(key(from), same);
      same.push(buffer);
    }
    return { makes, frees: [] };
  });
  for (const [buffer, at] of last) if (left.get(buffer) !== Infinity) steps[at]!.frees.push(buffer);
  return steps;
}
