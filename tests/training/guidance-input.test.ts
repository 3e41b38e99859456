/** @file A network that takes guidance as an input (LCM): training and `sample` feed it alike, and gradients go through it. */
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type { HostTensor } from '../../src/graph/dtype.js';
import { host } from '../../src/graph/dtype.js';
import { draft } from '../../src/methods/draft.js';
import { counted } from '../../src/methods/counted.js';
import type { Counts } from '../../src/methods/counted.js';
import { openRollouts } from '../../src/methods/rollout.js';
import { componentShapes } from '../../src/models/components.js';
import type { UNetConfig } from '../../src/models/config.js';
import { loadPipeline } from '../../src/loading/load.js';
import type { Pipeline } from '../../src/models/pipeline.js';
import { normal } from '../../src/random/random.js';
import { openRewards, parseReward } from '../../src/rewards/registry.js';
import { sampleImages, sampleNoise } from '../../src/sampling/sampler.js';
import { ddim } from '../../src/schedulers/ddim.js';
import { readSchedulerConfig } from '../../src/schedulers/scheduler-config.js';
import { values } from '../../src/training/parameters.js';
import { openPipelineTask } from '../../src/training/pipeline-task.js';
import type { PipelineTask } from '../../src/training/pipeline-task.js';
import { directionalError, firstUpdate } from '../methods/gradients.js';

const PROMPTS = ['a cat', 'a dog'];
const SIZE = { height: 32, width: 32 };
const compile = { device: 'cpu', threads: 1 } as const;

/** The tiny pipeline with a projection of guidance into the embedding of time, as LCM has it. */
async function lcmPipeline(): Promise<Pipeline> {
  const plain = await loadPipeline(join(import.meta.dirname, '..', 'fixtures', 'pipeline_sd1'));
  const unet = { ...plain.denoiser.config as UNetConfig, time_cond_proj_dim: 16 };
  const added = [...componentShapes('UNet2DConditionModel', unet)].filter(([name]) => !plain.weights.has(`unet.${name}`));
  const weights = added.map(([name, shape]): [string, HostTensor] => {
    const size = shape.reduce((a, b) => a * b, 1);
    return [`unet.${name}`, host(normal({ seed: 2, stream: name, step: 0 }, 0, size), shape)];
  });
  return { ...plain, denoiser: { ...plain.denoiser, config: unet }, weights: new Map([...plain.weights, ...weights]) };
}

const pipeline = await lcmPipeline();
const { process } = readSchedulerConfig(pipeline.scheduler, 'fixture');
const plan = ddim(process, 2, { stepsOffset: 1 });
const reward = await openRewards([parseReward('symmetry')]);

const opened: PipelineTask[] = [];
afterAll(async () => {
  for (const task of opened) await task.release();
});

async function open(guidance: number): Promise<PipelineTask & { counts: Counts }> {
  const task = await openPipelineTask(pipeline, {
    microbatch: 2, seed: 0, process, plan, guidance, negativePrompt: '', ...SIZE,
    adaptation: { kind: 'lora', options: { rank: 2, targets: ['to_q', 'to_k', 'to_v', 'to_out.0'] } },
    reward, checkpointing: false, compile,
  });
  opened.push(task);
  const counting = counted(task);
  return { ...counting.task, counts: counting.counts };
}

/** What training samples, as pictures. */
async function trained(task: PipelineTask): Promise<Float32Array> {
  const rollouts = await openRollouts(task, 'tuned', sampleNoise(0));
  const { x } = await rollouts.rollout(PROMPTS, 0);
  await rollouts.release();
  return values(await task.decode(x.at(-1)!));
}

async function sampled(guidance: number): Promise<Float32Array> {
  const job = { prompts: PROMPTS, seed: 0, negativePrompt: '', guidance, plan, ...SIZE, batch: 2, compile };
  for await (const images of sampleImages(pipeline, job)) return Float32Array.from(images.flatMap(({ image }) => [...values(image)]));
  throw new Error('no images');
}

const distance = (a: Float32Array, b: Float32Array): number => a.reduce((worst, v, i) => Math.max(worst, Math.abs(v - b[i]!)), 0);

describe('guidance as an input of the network', () => {
  test('the rollout samples what `sample` does, by one call a step; guidance matters', async () => {
    const [weak, strong] = [await open(1.5), await open(8)];
    const pictures = await trained(weak);
    expect(distance(pictures, await sampled(1.5))).toBeLessThan(1e-5);
    expect(weak.counts.denoiserCalls).toBe(2 * plan.steps.length);
    expect(distance(pictures, await trained(strong))).toBeGreaterThan(1e-2);
  });

  test('the gradient of DRaFT is that of the sampled reward', async () => {
    const task = await open(8);
    let item = 0;
    for (const t of task.parameters.values()) {
      const x = values(t);
      const noise = normal({ seed: 3, stream: 'away from zero', step: 0 }, item++, x.length);
      for (let i = 0; i < x.length; i++) x[i]! += 0.1 * noise[i]!;
    }
    const { gradients } = await firstUpdate(draft, task, { k: 'all' }, PROMPTS);
    expect(gradients.size).toBe(task.parameters.size);
    const rollouts = await openRollouts(task);
    const loss = async (): Promise<number> => {
      const { x } = await rollouts.rollout(PROMPTS, 0);
      const [a, b] = await task.reward.score(x.at(-1)!, PROMPTS) as unknown as [number, number];
      return -(a + b) / 2;
    };
    expect(await directionalError(task, gradients, loss, 3, 1e-3)).toBeLessThan(5e-3);
    await rollouts.release();
  });
});
