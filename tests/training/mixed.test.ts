/** @file A method's update where the model computes in half precision: its gradients are those of float32, whatever the loss scale. */
import { expect, test } from 'vitest';
import { toFloat32 } from '../../src/graph/dtype.js';
import { findMethod } from '../../src/methods/index.js';
import { loadPipeline } from '../../src/models/load.js';
import { PRECISIONS } from '../../src/nn/precision.js';
import type { PrecisionName } from '../../src/nn/precision.js';
import { openRewards, parseReward } from '../../src/rewards/registry.js';
import { samplers } from '../../src/schedulers/index.js';
import { readSchedulerConfig } from '../../src/schedulers/scheduler-config.js';
import { openPipelineTask } from '../../src/training/pipeline-task.js';
import { tiny } from '../cli/helpers.js';

/** The LoRA's gradients of one DRaFT update from the same start, at each loss scale. */
async function gradients(precision: PrecisionName, scales: readonly number[]): Promise<Float32Array[]> {
  const pipeline = await loadPipeline(tiny, { precision: PRECISIONS[precision] });
  const { process } = readSchedulerConfig(pipeline.scheduler, 'fixture');
  const task = await openPipelineTask(pipeline, {
    microbatch: 1, seed: 1, process, plan: samplers.ddim.plan(process, 1, {}), guidance: 1, negativePrompt: '', height: 32, width: 32,
    adaptation: { kind: 'lora', options: { rank: 2, targets: ['to_q', 'to_v'] } }, checkpointing: false, compile: { threads: 1 },
    reward: await openRewards([parseReward('symmetry')]),
  });
  const method = findMethod('draft')!;
  const stepper = await method.create(task, method.options.parse({}) as never);
  const found: Float32Array[] = [];
  for (const scale of scales) {
    task.setLossScale?.(scale);
    for await (const update of stepper.round(['a cat'], 0)) {
      found.push(Float32Array.from([...update.gradients.values()].flatMap((t) => [...toFloat32(t)])));
    }
  }
  await stepper.release();
  await task.release();
  return found;
}

const dot = (a: Float32Array, b: Float32Array): number => a.reduce((sum, v, i) => sum + v * b[i]!, 0);

test('an update in mixed precision has the gradients of float32; without a loss scale small ones are lost', { timeout: 600_000 }, async () => {
  const [exact] = await gradients('float32', [1]);
  const [scaled, lost] = await gradients('mixed', [2 ** 16, 2 ** -20]);
  const cosine = (g: Float32Array): number => dot(exact!, g) / Math.sqrt(dot(exact!, exact!) * dot(g, g) || 1);
  expect(cosine(scaled!)).toBeGreaterThan(0.999);
  expect(Math.sqrt(dot(scaled!, scaled!) / dot(exact!, exact!))).toBeCloseTo(1, 1); // the scale does not come out
  expect(cosine(lost!)).toBeLessThan(0.9);
});
