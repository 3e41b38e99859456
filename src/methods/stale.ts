/** @file Trajectories kept from one round for the next, as tensors, so that checkpoints can hold them. */
import type { HostTensor } from '../graph/dtype.js';
import { host } from '../graph/dtype.js';
import type { Trajectory } from './rollout.js';
import type { Task } from './task.js';

const PROMPTS = 'prompts';

/** Replaces what is kept by this trajectory. */
export function keep(memory: Map<string, HostTensor>, { prompts, x, outputs }: Trajectory): void {
  const bytes = new TextEncoder().encode(JSON.stringify(prompts));
  memory.clear();
  memory.set(PROMPTS, host(Int32Array.from(bytes), [bytes.length], 'int32'));
  x.forEach((t, i) => memory.set(`x/${i}`, t));
  outputs.forEach((t, i) => memory.set(`output/${i}`, t));
}

/** The trajectory that is kept, or null. */
export function kept(task: Task, memory: ReadonlyMap<string, HostTensor>): Trajectory | null {
  const bytes = memory.get(PROMPTS);
  if (!bytes) return null;
  const steps = task.plan.steps;
  const all = (name: string, count: number): HostTensor[] => Array.from({ length: count }, (_, i) => memory.get(`${name}/${i}`)!);
  return {
    prompts: JSON.parse(new TextDecoder().decode(Uint8Array.from(bytes.data as Int32Array))) as string[],
    x: all('x', steps.length + 1),
    outputs: all('output', steps.length),
    steps,
  };
}
