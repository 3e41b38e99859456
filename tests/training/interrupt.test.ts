/** @file An interrupt in any phase: no network call is begun after the one under way, and what follows is the same run. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession } from 'onnxruntime-node';
import { beforeAll, expect, test, vi } from 'vitest';
import { latentShape } from '../../src/models/pipeline.js';
import { loadPipeline } from '../../src/loading/load.js';
import { encodePng } from '../../src/formats/image.js';
import { httpReward } from '../../src/rewards/http.js';
import { sampleImages } from '../../src/sampling/sampler.js';
import { samplers } from '../../src/schedulers/index.js';
import { readSchedulerConfig } from '../../src/schedulers/scheduler-config.js';
import { host } from '../../src/graph/dtype.js';
import { resolveConfig } from '../../src/training/config.js';
import { fit } from '../../src/training/pretrain/fit.js';
import { overPictures } from '../../src/training/pretrain/latents.js';
import { silent } from '../../src/runs/progress.js';
import { runTraining } from '../../src/training/run.js';
import { askToStop } from '../../src/runs/stop.js';
import { standingOf } from '../../src/runs/state.js';
import { compile } from '../../src/runtime/compile.js';
import { square } from '../../src/graph/ops/arithmetic.js';
import { sum } from '../../src/graph/ops/reduce.js';
import { input } from '../../src/graph/tensor.js';
import { scratch, tiny } from '../cli/helpers.js';

const root = scratch();
writeFileSync(join(root, 'prompts.txt'), 'a cat\na dog\n');

/** DDPO makes two updates of each round, so that there is a middle of a round; step 3, where it is evaluated, is one. */
const config = resolveConfig({
  model: tiny, prompts: join(root, 'prompts.txt'), rewards: ['symmetry'], method: { name: 'ddpo', updates: 2 }, steps: 4, batch: 2,
  samplingSteps: 2, size: 32, threads: 1, guidance: 1, checkpointEvery: 1, lora: { rank: 1, targets: ['to_q'] },
  evaluation: { every: 3, prompts: 1, images: 2, heldOut: null, features: null, sweep: [1], final: { prompts: 1, images: 2 } },
}, []);

// Every call of a network, and what there is to do at one of them.
let calls = 0;
let at: { call: number; act: () => void } | null = null;
const { prototype } = InferenceSession as unknown as { prototype: InferenceSession };
const run = prototype.run as (...args: unknown[]) => ReturnType<InferenceSession['run']>;
vi.spyOn(prototype, 'run').mockImplementation(async function counted(this: InferenceSession, ...args: unknown[]) {
  calls += 1;
  if (calls === at?.call) setImmediate(at.act); // an interrupt arrives while the call is under way
  return run.apply(this, args);
});

// Every session that is opened, and what there is to do while one is.
let opened = 0;
let opening: { session: number; act: () => Promise<void> | void } | null = null;
const create = InferenceSession.create as (...args: unknown[]) => Promise<InferenceSession>;
vi.spyOn(InferenceSession, 'create').mockImplementation(async (...args: unknown[]) => {
  opened += 1;
  if (opened === opening?.session) {
    calls = 0;
    await opening.act();
  }
  return create.apply(InferenceSession, args);
});

/** Does `work`, with `act` while its n-th session is opened; how much was begun after that one. */
async function whileOpening<T>(session: number, act: () => Promise<void> | void, work: () => Promise<T>): Promise<{ result: T; sessions: number; calls: number }> {
  opened = 0;
  opening = { session, act };
  try {
    const result = await work();
    expect(opened).toBeGreaterThanOrEqual(session);
    return { result, sessions: opened - session, calls };
  } finally {
    opening = null;
  }
}

/** Asks a folder to stop, and opens the session for as long as large ones take. */
const asked = (folder: string) => async (): Promise<void> => {
  await askToStop(folder, false);
  const until = performance.now() + 500;
  while (performance.now() < until) { /* the native side holds the thread */ }
};

/** Does `work`, interrupting it at the n-th network call from its start; how many calls were begun after that one. */
async function interruptedAt<T>(call: number, work: (signal: AbortSignal) => Promise<T>): Promise<{ result: T | Error; after: number }> {
  const stopping = new AbortController();
  calls = 0;
  at = { call, act: () => stopping.abort() };
  const result = await work(stopping.signal).catch((error: Error) => error);
  at = null;
  expect(stopping.signal.aborted, `only ${calls} calls`).toBe(true);
  if (result instanceof Error) expect(result).toBe(stopping.signal.reason);
  return { result, after: calls - call };
}

const whole = join(root, 'whole');
/** The phases of the whole run, and the calls made and sessions opened before each. */
const phases: [text: string, calls: number, opened: number][] = [];

beforeAll(async () => {
  calls = 0;
  const progress = { ...silent, phase: (text: string) => phases.push([text, calls, opened]) };
  await runTraining(config, whole, { progress });
}, 300_000);

const essence = (folder: string): unknown => ({
  rows: readFileSync(join(folder, 'metrics.jsonl'), 'utf8').split('\n').filter(Boolean).map((line) => ({ ...JSON.parse(line) as object, seconds: 0 })),
  state: readFileSync(join(folder, 'checkpoints', 'step-000004', 'state.safetensors')).toString('base64'),
  lora: readFileSync(join(folder, 'lora', 'kohya.safetensors')).toString('base64'),
});
const begin = (phase: RegExp): number => phases.find(([text]) => phase.test(text))![1];

test('of a training: base evaluation, an evaluation in the middle of a round, final sweep and measurement', { timeout: 600_000 }, async () => {
  const moments = {
    'the base evaluation': begin(/evaluating the base/) + 1,
    'an evaluation in the middle of a round': begin(/evaluating at step 3/) + 1,
    'the final sweep': begin(/measuring the best weights/) + 1,
    'the final measurement': begin(/measuring base and best/) + 1,
  };
  for (const [name, call] of Object.entries(moments)) {
    const folder = join(root, name);
    const { result, after } = await interruptedAt(call, (signal) => runTraining(config, folder, { signal }));
    expect([name, result, after]).toEqual([name, null, 0]);
    expect(existsSync(join(folder, 'summary.json'))).toBe(false);
    expect(existsSync(join(folder, '.lock'))).toBe(false);
    if (call < moments['an evaluation in the middle of a round']) continue;
    expect(await runTraining(config, folder, { resume: true })).toMatchObject({ steps: 4, ended: 'finished' });
    expect(essence(folder), name).toEqual(essence(whole));
  }
});

test('while a session is opened: none after it, no network call, and a sentence', { timeout: 300_000 }, async () => {
  const sessions = phases.find(([text]) => /evaluating the base/.test(text))![2];
  expect(sessions).toBeGreaterThan(4);
  const told: string[] = [];
  const progress = { ...silent, phase: (text: string) => void told.push(text) };
  const early = join(root, 'opening');
  const stopping = new AbortController();
  const first = await whileOpening(2, () => stopping.abort(), () => runTraining(config, early, { signal: stopping.signal, progress }));
  expect([first.result, first.sessions, told.at(-1), existsSync(early)]).toEqual([null, 0, 'stopped before the run began', false]);
  expect(first.calls).toBeLessThanOrEqual(1); // a session that makes a part of the weights is run at once

  // By its folder, whose file is heard as soon as the session is open.
  const late = join(root, 'opening by folder');
  const second = await whileOpening(sessions, asked(late), () => runTraining(config, late, { progress }));
  expect([second, told.at(-1)]).toEqual([{ result: null, sessions: 0, calls: 0 }, `stopped at step 0; go on with: attune train --resume ${late}`]);
  expect(await standingOf(late, false)).toMatchObject({ state: 'stopped', reason: null });
  expect(existsSync(join(late, 'checkpoints'))).toBe(false); // there was nothing to save
});

test('before a session is opened: not even that one is', async () => {
  const stopping = new AbortController();
  const x = input('x', [2]);
  // Read while the graph is made ready, which may take seconds.
  const weights = new Map([['x', host(new Float32Array(2), [2])]]);
  const read = vi.spyOn(weights, 'get').mockImplementation(() => {
    stopping.abort();
    return undefined;
  });
  opened = 0;
  await expect(compile({ outputs: { y: square(x) } }, { weights, threads: 1, signal: stopping.signal })).rejects.toThrow('aborted');
  expect([read.mock.calls.length > 0, opened]).toEqual([true, 0]);
});

test('of sampling', async () => {
  const pipeline = await loadPipeline(tiny);
  const { process, options } = readSchedulerConfig(pipeline.scheduler, 'fixture');
  expect(latentShape(pipeline, 1, 32, 32)).toHaveLength(4);
  const { after } = await interruptedAt(3, async (signal) => {
    const job = {
      prompts: ['a cat', 'a dog', 'a bird'], seed: 1, negativePrompt: '', guidance: 2, batch: 1, height: 32, width: 32,
      plan: samplers.ddim.plan(process, 3, options), compile: { device: 'cpu', threads: 1, signal },
    } as const;
    for await (const made of sampleImages(pipeline, job)) expect(made).toHaveLength(1);
  });
  expect(after).toBe(0);
});

test('of the passes before a network is trained from scratch', async () => {
  const pictures = { count: 200, size: 4, pixels: new Uint8Array(200 * 48) };
  const { after } = await interruptedAt(2, (signal) =>
    overPictures(pictures, new Map(), (x) => square(x), { progress: silent, threads: 1, signal }));
  expect(after).toBe(0);
});

test('before a training from scratch begins', async () => {
  const weight = input('weight', [4]);
  const net = {
    parameters: new Map([['weight', host(new Float32Array(4), [4])]]), symbols: new Map([['weight', weight]]),
    loss: sum(square(weight)), metrics: {}, feeds: () => ({}),
  };
  const options = {
    steps: 2, lr: 0.1, schedule: 'constant', warmup: 0, weightDecay: 0, clip: 1, emaDecay: 0.9, threads: 1,
    folder: join(root, 'fit'), resume: false, checkpointSeconds: 1e9, progress: silent,
  } as const;
  await expect(fit(net, { ...options, signal: AbortSignal.abort() })).rejects.toMatchObject({ name: 'AbortError' });
});

test('of a scorer elsewhere that does not answer', async () => {
  const { createServer } = await import('node:http');
  const server = createServer(() => {}); // never
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as { port: number };
  const stopping = new AbortController();
  server.on('request', () => stopping.abort());
  const reward = httpReward('http', { url: `http://127.0.0.1:${port}/`, timeout: 120 }, encodePng);
  const error: unknown = await reward.score(host(new Float32Array(12), [1, 3, 2, 2]), ['x'], stopping.signal).catch((e: unknown) => e);
  expect(stopping.signal.aborted && error === stopping.signal.reason).toBe(true);
  server.closeAllConnections();
  server.close();
});
