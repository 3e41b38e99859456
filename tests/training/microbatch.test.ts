/** @file How a round is cut: what the settings say, and what fits where they say nothing. */
import { join } from 'node:path';
import { mkdirSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { liveBytes } from '../../src/graph/live-bytes.js';
import { add, exp } from '../../src/graph/ops/arithmetic.js';
import { reshape } from '../../src/graph/ops/layout.js';
import { sum } from '../../src/graph/ops/reduce.js';
import { input } from '../../src/graph/tensor.js';
import { resolveConfig } from '../../src/training/config.js';
import { defaultMicrobatch } from '../../src/training/microbatch.js';
import { storedConfig } from '../../src/training/stored-config.js';
import { scratch } from '../cli/helpers.js';

const GB = 2 ** 30;

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

describe('by default', () => {
  const at = (batch: number, bytes: number, memory: number): number => defaultMicrobatch(batch, 512 * 512, () => bytes, memory);

  test('as many as fit into half of the memory, in equal parts', () => {
    expect([at(8, GB, 16 * GB), at(8, GB, 15 * GB), at(8, GB, 4 * GB), at(8, 3 * GB, 4 * GB), at(6, GB, 8 * GB), at(7, GB, 12 * GB)])
      .toEqual([8, 4, 2, 1, 3, 1]);
  });

  test('small images are not even estimated', () => {
    const never = (): number => {
      throw new Error('estimated');
    };
    expect(defaultMicrobatch(8, 64 * 64, never, 16 * GB)).toBe(8);
    expect(() => defaultMicrobatch(8, 512 * 512, never, 16 * GB)).toThrow('estimated');
  });
});

test('live bytes of a graph: the most that is held at once, views and inputs for nothing', () => {
  const x = input('x', [100]);
  let chain = exp(x);
  for (let i = 0; i < 5; i++) chain = reshape(exp(chain), [10, 10]);
  expect(liveBytes({ chain })).toBe(2 * 400);
  const kept = exp(x);
  let last = kept;
  for (let i = 0; i < 5; i++) last = exp(last);
  expect(liveBytes({ y: add(last, kept) })).toBe(3 * 400);
  expect(liveBytes({ y: sum(kept), kept })).toBe(404);
});
