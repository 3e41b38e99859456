/** @file Checkpoints that are damaged in one way or another: the one before is taken, and it is told. */
import { mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { sweepUnfinished } from '../../src/formats/atomic.js';
import { openSafetensors, writeSafetensors } from '../../src/formats/safetensors.js';
import { readAll } from '../../src/formats/weights.js';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { openPolicy } from '../../src/methods/policy.js';
import { loadCheckpoint, saveCheckpoint } from '../../src/training/checkpoint.js';
import type { RunState } from '../../src/training/checkpoint.js';
import { resolveConfig } from '../../src/training/config.js';
import { checkFits } from '../../src/training/train-state.js';
import type { Trained } from '../../src/training/train-state.js';
import { scratch } from '../cli/helpers.js';

const root = scratch();
const weights = (value: number): Map<string, HostTensor> => new Map([
  ['down', host(Float32Array.from([value, 2, 3, 4, 5, 6]), [2, 3])], ['up', host(Float32Array.of(value), [1, 1])],
]);
const stateAt = (step: number): RunState => ({
  step, round: step, rewardQueries: 8 * step, denoiserCalls: 16 * step,
  tensors: { parameters: weights(step), m: weights(0.1), v: weights(0.2), best: weights(0.3) },
  values: { evaluations: [{ step: 0, reward: 0.25 }], baseCount: 4, seconds: 1.5, peakBytes: 0 },
});
const trained = { task: openPolicy(weights(0), new Map()), rule: {}, config: resolveConfig({}, []), objective: { needsBase: false } } as unknown as Trained;

/** Two checkpoints, the newer one damaged; what is loaded of them, and what is told. */
async function after(name: string, damage: (folder: string) => Promise<void> | void) {
  const path = join(root, name);
  await saveCheckpoint(path, stateAt(1), 2);
  await damage(await saveCheckpoint(path, stateAt(2), 2));
  const told: string[] = [];
  const state = await loadCheckpoint(path, (text) => told.push(text), (run) => checkFits(trained, run));
  return { state, told: told.join('\n') };
}

/** Writes the tensors again, changed, as a tool would: with a sum that is right for them or without one. */
async function rewritten(folder: string, change: (all: Map<string, HostTensor>) => void): Promise<void> {
  const file = join(folder, 'state.safetensors');
  const source = await openSafetensors(file);
  const all = await readAll(source);
  await source.close();
  change(all);
  await writeSafetensors(file, all);
  const path = join(folder, 'state.json');
  const { sums: _, ...state } = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  writeFileSync(path, JSON.stringify(state));
}

const flip = (path: string, at: (bytes: Buffer) => number): void => {
  const bytes = readFileSync(path);
  bytes[at(bytes)]! ^= 1;
  writeFileSync(path, bytes);
};

describe('damaged', () => {
  test.each<[what: string, damage: (folder: string) => Promise<void> | void, told: RegExp]>([
    ['a flipped bit in a number', (f) => flip(join(f, 'state.safetensors'), (b) => b.length - 2), /state\.safetensors: is not as it was written \(its checksum is another\)/],
    ['a flipped bit in the state', (f) => flip(join(f, 'state.json'), (b) => b.indexOf('"rewardQueries":16') + 17), /state\.json: is not as it was written/],
    ['a truncated file', (f) => truncateSync(join(f, 'state.safetensors'), 100), /state\.safetensors/],
    ['an empty state', (f) => truncateSync(join(f, 'state.json'), 0), /state\.json: is missing or no JSON/],
    ['no state of a run', (f) => writeFileSync(join(f, 'state.json'), '{"step": 1}'), /is not the state of a run/],
    ['a list for a state', (f) => writeFileSync(join(f, 'state.json'), '[1, 2]'), /is missing or no JSON object/],
    ['a missing tensor', (f) => rewritten(f, (all) => all.delete('m/up')), /m up is missing/],
    ['a transposed shape', (f) => rewritten(f, (all) => all.set('best/down', { ...all.get('best/down')!, shape: [3, 2] })), /best down is float32 \[3, 2\], not float32 \[2, 3\]/],
    ['a wrong type', (f) => rewritten(f, (all) => all.set('v/up', host(Float64Array.of(1), [1, 1], 'float64'))), /v up is float64/],
    ['NaN', (f) => rewritten(f, (all) => all.set('parameters/up', host(Float32Array.of(NaN), [1, 1]))), /parameters up holds NaN or infinity/],
    ['values of something else', (f) => rewritten(f, () => writeFileSync(join(f, 'state.json'), JSON.stringify({ ...stateAt(2), tensors: undefined, values: { pending: -1 } }))), /values are not those of a training/],
  ])('%s: the checkpoint before is taken, and it is told', async (what, damage, message) => {
    const { state, told } = await after(what, damage);
    expect(state).toMatchObject({ step: 1, rewardQueries: 8 });
    expect(told).toMatch(/^checkpoint step-000002 is passed over: /);
    expect(told).toMatch(message);
    // The damaged one takes the place of no other.
    expect(readdirSync(join(root, what)).toSorted()).toEqual(['step-000001', 'step-000002.damaged']);
  });

  test('a whole one is as it was, also one of a version that wrote no checksums', async () => {
    expect(await after('whole', () => {})).toEqual({ state: stateAt(2), told: '' });
    expect(await after('old', (folder) => rewritten(folder, () => {}))).toEqual({ state: stateAt(2), told: '' });
  });

  test('where none can be used the run is not begun again from nothing', async () => {
    const path = join(root, 'none');
    for (const step of [1, 2]) flip(join(await saveCheckpoint(path, stateAt(step), 2), 'state.safetensors'), (b) => b.length - 1);
    const told: string[] = [];
    await expect(loadCheckpoint(path, (text) => told.push(text))).rejects.toThrow(/holds no checkpoint that can be used/);
    expect(told).toHaveLength(2);
    expect(await loadCheckpoint(join(root, 'nothing there'), () => {})).toBeNull();
  });
});

test('what killed writes left is swept, and nothing else', async () => {
  const path = join(root, 'swept');
  const own = ['.step-000004.tmp/state.json', '.report.html.0123456789ab.tmp', 'checkpoints/.step-000006.tmp/.state.json.0123456789ab.tmp', 'lora/.kohya.safetensors.ffffffffffff.tmp', '.lock.0123456789ab.tmp'];
  const others = ['notes.tmp', '.hidden', 'lora/kohya.safetensors', '.mine.tmp'];
  for (const file of [...own, ...others]) {
    mkdirSync(join(path, file, '..'), { recursive: true });
    writeFileSync(join(path, file), '');
  }
  expect(await sweepUnfinished(path)).toBe(own.length);
  const left = readdirSync(path, { recursive: true, withFileTypes: true }).filter((e) => e.isFile()).map((e) => e.name);
  expect(left.toSorted()).toEqual(others.map((file) => file.split('/').at(-1)!).toSorted());
});
