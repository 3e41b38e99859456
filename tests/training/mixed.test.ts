/** @file A method's update where the model computes in half precision. */
import { expect, test } from 'vitest';
import { toFloat32 } from '../../src/graph/dtype.js';
import { findMethod } from '../../src/methods/index.js';
import { loadPipeline } from '../../src/models/load.js';
import { PRECISIONS } from '../../src/nn/precision.js';
import { openRewards, parseReward } from '../../src/rewards/registry.js';
import { samplers } from '../../src/schedulers/index.js';
import { readSchedulerConfig } from '../../src/schedulers/scheduler-config.js';
import { openPipelineTask } from '../../src/training/pipeline-task.js';
import { tiny } from '../cli/helpers.js';

const dot = (a: Float32Array, b: Float32Array): number => a.reduce((sum, v, i) => sum + v * b[i]!, 0);

test('the loss scale reaches the graphs of a method, and does not come out of them', { timeout: 600_000 }, async () => {
  const pipeline = await loadPipeline(tiny, { precision: PRECISIONS.mixed });
  const { process } = readSchedulerConfig(pipeline.scheduler, 'fixture');
  const task = await openPipelineTask(pipeline, {
    microbatch: 1, seed: 1, process, plan: samplers.ddim.plan(process, 2, {}), guidance: 1, negativePrompt: '', height: 32, width: 32,
    adaptation: { kind: 'lora', options: { rank: 2, targets: ['to_q', 'to_v'] } }, checkpointing: false, compile: { threads: 1 },
    reward: await openRewards([parseReward('symmetry')]),
  });
  const method = findMethod('draft')!;
  const stepper = await method.create(task, method.options.parse({ k: 1 }) as never);
  const gradients = async (scale: number): Promise<Float32Array> => {
    task.setLossScale!(scale);
    for await (const update of stepper.round(['a cat'], 0)) {
      return Float32Array.from([...update.gradients.values()].flatMap((t) => [...toFloat32(t)]));
    }
    throw new Error('no update');
  };
  const [large, small, lost] = [await gradients(2 ** 16), await gradients(2 ** 14), await gradients(2 ** -40)];
  await stepper.release();
  await task.release();
  expect(dot(large, large)).toBeGreaterThan(0);
  expect(dot(large, small) / dot(large, large)).toBeCloseTo(1, 3);
  expect(dot(lost, lost)).toBe(0);
});
