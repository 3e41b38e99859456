/** @file LoRA settings that make no sense are told before anything is compiled. */
import { InferenceSession } from 'onnxruntime-node';
import { afterEach, expect, test, vi } from 'vitest';
import { loadPipeline } from '../../src/loading/load.js';
import { openRewards, parseReward } from '../../src/rewards/registry.js';
import { samplers } from '../../src/schedulers/index.js';
import { readSchedulerConfig } from '../../src/schedulers/scheduler-config.js';
import { resolveConfig } from '../../src/training/config.js';
import { openPipelineTask } from '../../src/training/pipeline-task.js';
import { tiny } from '../cli/helpers.js';

const create = vi.spyOn(InferenceSession, 'create');
afterEach(() => void create.mockClear());
const pipeline = await loadPipeline(tiny);
const { process, options } = readSchedulerConfig(pipeline.scheduler, 'fixture');
const reward = await openRewards([parseReward('symmetry')]);

const open = ({ rank, targets = [...pipeline.family.lora.attention] }: { rank: number; targets?: string[] }) => openPipelineTask(pipeline, {
  microbatch: 1, seed: 0, process, plan: samplers.ddim.plan(process, 2, options), guidance: 2, negativePrompt: '', height: 32, width: 32,
  adaptation: { kind: 'lora', options: { rank, targets } }, reward, checkpointing: false, compile: { device: 'cpu', threads: 1 },
});

test.each([
  ['targets that no layer has', { rank: 1, targets: ['to_x', 'attn'] }, /^lora\.targets: no layer's path ends in to_x or attn\. There are layers that end in .*to_q.*; a whole path is for instance unet\./],
  ['a rank beyond every layer', { rank: 1e9 }, /^lora\.rank: 1000000000 is more than any of the adapted layers has room for; take at most \d+$/],
])('%s', async (_, lora, message) => {
  await expect(open(lora)).rejects.toMatchObject({ name: 'ConfigError', message: expect.stringMatching(message) as string });
  expect(create).not.toHaveBeenCalled();
});

test('the largest rank that is named is possible, one more is not', async () => {
  const error = await open({ rank: 1e9 }).then(() => null, (e: unknown) => e);
  const largest = Number(/at most (\d+)$/.exec((error as Error).message)![1]);
  await expect(open({ rank: largest + 1 })).rejects.toThrow(/lora\.rank/);
  const task = await open({ rank: largest });
  await task.release();
});

test('a rank of 0 is no rank', () => {
  expect(() => resolveConfig({ lora: { rank: 0 } }, [])).toThrow(/^lora\.rank: /);
});
