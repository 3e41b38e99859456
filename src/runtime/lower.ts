/** @file A graph as a device computes it: the operators that suit the device, and what is made of weights beforehand. */
import type { Graph } from '../graph/onnx/export.js';
import type { Node, Tensor } from '../graph/tensor.js';
import { blockConvolutions } from './blocked-convolution.js';
import { channelBlock as machineBlock } from './blocked-layout.js';
import type { CompileOptions } from './compile.js';
import type { Device } from './device.js';
import { frozenNodes, hoistFrozen } from './frozen.js';
import { hideShapes } from './hidden-shapes.js';
import { readStored } from './stored-weights.js';
import { avoidGaps } from './webgpu.js';

export interface Lowered<G extends Graph> {
  readonly compiled: G;
  /** Inputs that are made of weights beforehand, by their names in `compiled`. */
  readonly parts: ReadonlyMap<string, Tensor>;
  /** Whether shapes are kept from ONNX Runtime's planner. */
  readonly hidden: boolean;
  /** Whether weights become part of the session. */
  readonly baked: boolean;
}

/** The graph with the operators that suit the device. */
async function suited<G extends Graph>(graph: G, device: Device, block: number | null, frozen: ReadonlyMap<Node, unknown>): Promise<G> {
  if (device === 'webgpu') return avoidGaps(graph);
  return block === null ? graph : blockConvolutions(graph, block, frozen);
}

/** Of `weights` only shapes and types matter here. */
export async function lowered<G extends Graph>(graph: G, options: CompileOptions): Promise<Lowered<G>> {
  const { device = 'cpu', weights = {}, bake: baked = device === 'cuda' } = options;
  const hidden = options.hideShapes === true && device === 'cpu' && !baked;
  const { hoist = !baked && !hidden } = options;
  const block = device !== 'cpu' || baked ? null : options.channelBlock === undefined ? await machineBlock() : options.channelBlock;
  const read = readStored(graph, weights, device === 'cpu');
  const fitting = await suited(read, device, block, hoist ? frozenNodes(read, weights) : new Map());
  const { graph: hoisted, parts } = hoist ? hoistFrozen(fitting, weights, device) : { graph: fitting, parts: new Map<string, Tensor>() };
  return { compiled: hidden ? hideShapes(hoisted) : hoisted, parts, hidden, baked };
}
