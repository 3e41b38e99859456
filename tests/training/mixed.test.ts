/** @file An update of a whole method where the networks compute in float16, against the same in float32. */
import { expect, test } from 'vitest';
import { toFloat32 } from '../../src/graph/dtype.js';
import { findMethod } from '../../src/methods/index.js';
import { loadPipeline } from '../../src/loading/load.js';
import { PRECISIONS } from '../../src/nn/precision.js';
import type { PrecisionName } from '../../src/nn/precision.js';
import { openRewards, parseReward } from '../../src/rewards/registry.js';
import { samplers } from '../../src/schedulers/index.js';
import { readSchedulerConfig } from '../../src/schedulers/scheduler-config.js';
import { openPipelineTask } from '../../src/training/pipeline-task.js';

const dot = (a: Float32Array, b: Float32Array): number => a.reduce((sum, v, i) => sum + v * b[i]!, 0);
const cosine = (a: Float32Array, b: Float32Array): number => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));

/** The LoRA's gradient by DRaFT-1 on the bundled model, at each loss scale. */
async function gradients(precision: PrecisionName, scales: readonly number[]): Promise<Float32Array[]> {
  const pipeline = await loadPipeline('emoji', { precision: PRECISIONS[precision] });
  const { process } = readSchedulerConfig(pipeline.scheduler, 'emoji');
  const task = await openPipelineTask(pipeline, {
    microbatch: 2, seed: 1, process, plan: samplers.ddim.plan(process, 2, { stepsOffset: 1 }),
    guidance: 1, negativePrompt: '', height: 64, width: 64,
    adaptation: { kind: 'lora', options: { rank: 2, targets: ['to_q', 'to_v'] } }, checkpointing: false, compile: { threads: 1 },
    reward: await openRewards([parseReward('symmetry')]),
  });
  const method = findMethod('draft')!;
  const rule = await method.create(task, method.options.parse({ k: 1 }) as never);
  const all: Float32Array[] = [];
  try {
    for (const scale of scales) {
      task.setLossScale?.(scale);
      for await (const update of rule.round(['a red apple', 'a cat'], 0)) {
        all.push(Float32Array.from([...update.gradients.values()].flatMap((t) => [...toFloat32(t)])));
      }
    }
  } finally {
    await rule.release();
    await task.release();
  }
  return all;
}

test('the gradient is that of float32, whatever the loss scale, and is lost where the scale is far too small', { timeout: 600_000 }, async () => {
  const [exact] = await gradients('float32', [1]);
  const [large, small, lost] = await gradients('mixed', [2 ** 16, 2 ** 14, 2 ** -40]);
  expect(dot(exact!, exact!)).toBeGreaterThan(0);
  expect(cosine(large!, exact!)).toBeGreaterThan(0.999);
  expect(dot(large!, exact!) / dot(exact!, exact!)).toBeCloseTo(1, 2);
  expect(cosine(small!, large!)).toBeGreaterThan(0.9999);
  expect(dot(lost!, lost!)).toBeLessThan(1e-3 * dot(exact!, exact!));
});
