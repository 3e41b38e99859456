/** @file The fuzzer finds what it is for, and the same again. */
import { describe, expect, it } from 'vitest';
import { mutate, randomOf } from '../../tools/fuzz/mutate.js';
import { TARGETS } from '../../tools/fuzz/targets.js';

describe('changes of a file', () => {
  const bytes = Buffer.from(JSON.stringify({ length: 12, shape: [3, 4], text: 'some words of a file' }));
  const changed = (seed: number): Buffer => mutate(bytes, Buffer.from('another file'), randomOf(seed));

  it('are the same for the same seed and never of the file itself', () => {
    const before = bytes.toString();
    for (let seed = 0; seed < 500; seed++) expect(changed(seed).equals(changed(seed))).toBe(true);
    expect(bytes.toString()).toBe(before);
  });

  it('are of many kinds', () => {
    const all = Array.from({ length: 500 }, (_, seed) => changed(seed));
    expect(new Set(all.map((b) => b.toString('latin1'))).size).toBeGreaterThan(400);
    expect(all.filter((b) => b.length < bytes.length).length).toBeGreaterThan(50);
    expect(all.filter((b) => b.length > 10 * bytes.length).length).toBeGreaterThan(10);
    expect(all.filter((b) => b.length === bytes.length).length).toBeGreaterThan(50);
    expect(all.some((b) => b.includes('__proto__'))).toBe(true);
  });

  it('of nothing are something or nothing', () => {
    for (let seed = 0; seed < 200; seed++) expect(mutate(Buffer.alloc(0), Buffer.alloc(0), randomOf(seed)).length).toBeLessThan(2 ** 24);
  });
});

it('every kind of file has a target', () => {
  expect(TARGETS.map((t) => t.name)).toEqual(expect.arrayContaining([
    'weights', 'shards', 'lora', 'lora-folder', 'onnx', 'onnx-external', 'picture', 'model', 'tokenizer', 'wordpiece', 'prompts',
    'pairs', 'dataset', 'settings', 'recipe', 'checkpoint', 'run', 'log of a run', 'json',
  ]));
});
