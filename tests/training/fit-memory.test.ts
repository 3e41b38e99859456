/** @file How a round is cut: what the settings say, and what fits into memory where they say nothing. */
import { join } from 'node:path';
import { mkdirSync, writeFileSync } from 'node:fs';
import { describe, expect, test, vi } from 'vitest';
import { InferenceSession } from 'onnxruntime-node';
import { mean } from '../../src/graph/ops/reduce.js';
import { findMethod } from '../../src/methods/index.js';
import { loadPipeline } from '../../src/loading/load.js';
import type { Reward } from '../../src/rewards/reward.js';
import type { Execution } from '../../src/runtime/compile.js';
import { ddim } from '../../src/schedulers/ddim.js';
import { readSchedulerConfig } from '../../src/schedulers/scheduler-config.js';
import { resolveConfig } from '../../src/training/config.js';
import { fitMemory, inPrecision } from '../../src/training/fit-memory.js';
import type { Fitted, Levers, Wish } from '../../src/training/fit-memory.js';
import { forecast } from '../../src/training/forecast.js';
import type { Forecast } from '../../src/training/forecast.js';
import { parseSize } from '../../src/training/memory-size.js';
import { sessionMemory } from '../../src/training/session-memory.js';
import type { SessionMemory } from '../../src/training/session-memory.js';
import { storedConfig } from '../../src/training/stored-config.js';
import { scratch } from '../cli/helpers.js';

const GB = 2 ** 30;

const bright: Reward = {
  name: 'bright', description: '', range: [0, 1], differentiable: true, weights: new Map(),
  trace: (images) => mean(images, { axes: [1, 2, 3] }), feeds: async () => ({}),
};

describe('settings', () => {
  test('accumulate is refused with what to write instead', () => {
    expect(() => resolveConfig({ accumulate: 8, batch: 1 }, [])).toThrow(/accumulate is no setting any more.* Write batch: 8 and microbatch: 1 instead/);
    expect(() => resolveConfig({}, [['accumulate', 4]])).toThrow(/Write batch: 32 and microbatch: 8 instead/);
    expect(() => resolveConfig({ accumulate: 'twice' }, [])).toThrow(/Write batch and microbatch instead/);
  });

  test('a run of before, which accumulated nothing, is still one', async () => {
    const [nothing, something] = ['nothing', 'something'].map((name) => join(scratch(), name)) as [string, string];
    for (const [path, accumulate] of [[nothing, 1], [something, 2]] as const) {
      mkdirSync(path);
      writeFileSync(join(path, 'config.yaml'), `batch: 4\naccumulate: ${accumulate}\n`);
    }
    expect((await storedConfig(nothing)).batch).toBe(4);
    await expect(storedConfig(something)).rejects.toThrow(/something was begun .*accumulate: 2, and cannot go on.* Start a new run with batch: 8 and microbatch: 4$/);
  });

  test('the parts are equal', () => {
    expect(resolveConfig({ batch: 8, microbatch: 2 }, []).microbatch).toBe(2);
    expect(() => resolveConfig({ batch: 8, microbatch: 3 }, [])).toThrow(/microbatch: 8 images \(batch\) cannot be cut into parts of 3/);
    expect(() => resolveConfig({ batch: 8, microbatch: 16 }, [])).toThrow(/parts of 16/);
  });
});

describe('what fits', () => {
  const start: Levers = { microbatch: 8, checkpointing: false, precision: 'float32', size: 512, rank: 16 };
  const asked: Levers[] = [];
  /** 2 GiB, and 1 for each image; checkpointing, half precision and half the side each save. */
  const at = async (levers: Levers): Promise<Forecast> => {
    asked.push(levers);
    const { microbatch, checkpointing, precision, size } = levers;
    const host = (precision === 'float32' ? 2 : 1) * GB + microbatch * GB * (checkpointing ? 0.25 : 1) * (size / 512) ** 2;
    return { host, device: null, weights: 0, held: 0, optimizer: 0, graphs: new Map(), flops: 0 };
  };
  const fit = (memory: number, wish: Partial<Wish> = {}): Promise<Fitted> =>
    fitMemory({ batch: 8, microbatch: undefined, checkpointing: undefined, ...wish }, start, at, { bytes: memory * GB, source: 'test' });

  test('the largest microbatch that nine tenths of the memory hold, and checkpointing only where none does without', async () => {
    const chosen = async (memory: number, wish?: Partial<Wish>): Promise<unknown[]> => {
      const { levers: { microbatch, checkpointing } } = await fit(memory, wish);
      return [microbatch, checkpointing];
    };
    expect(await chosen(12)).toEqual([8, false]);
    expect(await chosen(11)).toEqual([4, false]);
    expect(await chosen(3.4)).toEqual([1, false]);
    expect(await chosen(3.2)).toEqual([2, true]);
    expect(await chosen(3.2, { microbatch: 1 })).toEqual([1, true]);
    expect(await chosen(3.2, { checkpointing: false })).toEqual([1, false]); // more than nine tenths, but there
    expect(await chosen(12, { batch: 7 })).toEqual([7, false]);
    expect(await chosen(9, { batch: 7 })).toEqual([1, false]);
  });

  test('what cannot fit is refused with what to change, each with its bytes', async () => {
    await expect(fit(2)).rejects.toThrow(
      'this training needs 2.3 GiB, and 2.0 GiB is there (test). What it would need with other settings: '
      + 'precision: mixed 1.3 GiB, which fits; size: 256 2.1 GiB');
    await expect(fit(1.2)).rejects.toThrow(/size: 256 2\.1 GiB; all of these 1\.1 GiB, which fits$/);
    await expect(fit(2, { microbatch: 8, checkpointing: false })).rejects.toThrow(/microbatch: 1 3\.0 GiB; checkpointing: true 4\.0 GiB; .*all of these 1\.1 GiB, which fits/);
  });

  test('nothing is foretold twice', async () => {
    asked.length = 0;
    await fit(1.2).catch(() => null);
    expect(new Set(asked.map((levers) => JSON.stringify(levers))).size).toBe(asked.length);
  });

  test('small images in a large memory are not even foretold', async () => {
    asked.length = 0;
    const config = (size: number, more: object = {}): Promise<SessionMemory> => sessionMemory({ ...resolveConfig({ batch: 8, ...more }, []), precision: 'float32' }, size, at);
    expect((await config(64)).levers).toMatchObject({ microbatch: 8, checkpointing: false });
    expect(asked).toEqual([]);
    expect(await (await config(64)).tell()).toMatch(/needs less than 4.0 GiB of memory/);
    expect((await config(64, { memory: '2.7GiB' })).levers).toMatchObject({ microbatch: 8, checkpointing: false });
    expect(asked.length).toBeGreaterThan(0);
    await expect(config(512, { memory: '1.2 gb' })).rejects.toThrow(/1\.2 GiB is there \(--memory 1\.2 gb\)/);
  });

  test('sizes of memory', () => {
    expect(['8GiB', '8 GB', '1.5g', '800MB', '800 MiB'].map(parseSize)).toEqual([8 * GB, 8 * GB, 1.5 * GB, 800 * 2 ** 20, 800 * 2 ** 20]);
    expect(['8', '0GB', '-1GB', 'much', '8TBs'].map(parseSize)).toEqual([null, null, null, null, null]);
    expect(() => resolveConfig({}, [['memory', 'much']])).toThrow(/memory.*a size, as 8GiB or 800MiB/);
  });
});

describe('forecast of a training', () => {
  const path = join(import.meta.dirname, '..', 'fixtures', 'pipeline_sd1');

  test('every graph of the method, of evaluation and of the text encoder; nothing is opened', async () => {
    const pipeline = await loadPipeline(path);
    const { process, options } = readSchedulerConfig(pipeline.scheduler, 'fixture');
    const method = findMethod('draft-lv')!;
    const create = vi.spyOn(InferenceSession, 'create');
    const one = await forecast({
      pipeline, judges: [], training: { method, options: method.options.parse({}) as never, averaged: false },
      options: {
        microbatch: 1, seed: 0, process, plan: ddim(process, 2, { ...options, eta: 0, lastStep: 'diffusers' }), guidance: 1, negativePrompt: '',
        height: 64, width: 64, adaptation: { kind: 'lora', options: { rank: 2, targets: ['to_q'] } }, checkpointing: false,
        reward: bright, compile: { channelBlock: null } as Execution,
      },
    });
    expect([...one.graphs.keys()]).toEqual(['images', 'output', expect.stringMatching(/^loss, grad/), 'score of bright', 'text states']);
    expect(one.device).toBeNull();
    const graphs = [...one.graphs.values()].reduce((sum, g) => sum + g.values + g.session, 0);
    expect(one.host).toBeGreaterThan(graphs + one.weights + one.optimizer);
    const half = inPrecision(pipeline, 'float16-storage');
    expect([...half.weights.values()].filter(({ dtype }) => dtype === 'float16').length).toBe([...half.weights.values()].filter(({ shape }) => shape.length > 1).length);
    expect(create).not.toHaveBeenCalled();
    create.mockRestore();
  });
});
