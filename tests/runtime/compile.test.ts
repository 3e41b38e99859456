import { describe, expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { grad } from '../../src/graph/grad.js';
import { add, div, log, mul } from '../../src/graph/ops/arithmetic.js';
import { silu } from '../../src/graph/ops/activation.js';
import { conv2d } from '../../src/graph/ops/conv.js';
import { linear } from '../../src/graph/ops/matmul.js';
import { groupNorm } from '../../src/graph/ops/norm.js';
import { sum } from '../../src/graph/ops/reduce.js';
import { input, weight } from '../../src/graph/tensor.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { normal } from '../../src/random/random.js';
import { channelBlock } from '../../src/runtime/blocked-layout.js';
import { compile } from '../../src/runtime/compile.js';
import type { CompileOptions } from '../../src/runtime/compile.js';
import { availableDevices, DeviceError } from '../../src/runtime/device.js';
import { formatProfile, profile } from '../../src/machine/profile.js';

const numbers = (name: string, shape: readonly number[]): HostTensor =>
  host(normal({ seed: 5, stream: name, step: 0 }, 0, shape.reduce((a, b) => a * b, 1)), shape);

/** A small block with a frozen convolution, and its gradient by the input. */
function block() {
  const x = input('x', [2, 8, 6, 6]);
  const w = weight('w', [8, 8, 3, 3]);
  const s = weight('s', [8]);
  const y = silu(groupNorm(conv2d(x, w, undefined, { padding: 1 }), 2, s, s));
  return { y, dx: grad(sum(mul(y, y)), [x])[0]! };
}
const WEIGHTS = new Map([['w', numbers('w', [8, 8, 3, 3])], ['s', numbers('s', [8])]]);
const X = numbers('x', [2, 8, 6, 6]);

const worst = (a: HostTensor, b: HostTensor): number =>
  Math.max(...Array.from(a.data as Float32Array, (v, i) => Math.abs(v - (b.data[i] as number))));

const own = await channelBlock();

describe('compile and run', () => {
  test('what depends on weights alone may be computed once, without changing the result', async () => {
    const plain = await compile({ outputs: block() }, { weights: WEIGHTS, hoist: false });
    const hoisted = await compile({ outputs: block() }, { weights: WEIGHTS, hoist: true });
    const [a, b] = [await plain.run({ x: X }), await hoisted.run({ x: X })];
    expect(worst(a.y, b.y)).toBeLessThan(1e-5);
    expect(worst(a.dx, b.dx)).toBeLessThan(1e-4);
    await plain.release();
    // The other one's share of the weights is its own.
    expect(worst((await hoisted.run({ x: X })).y, b.y)).toBe(0);
    await hoisted.release();
  });

  test('what is made of the weights is counted, and once if it is made twice', async () => {
    const [x, w] = [input('x', [2, 8, 6, 6]), weight('w', [8, 8, 3, 3])];
    const y = conv2d(x, w, undefined, { padding: 1 });
    const back = (): Tensor => grad(sum(mul(y, y)), [x])[0]!;
    const bytes: number[] = [];
    const cases: [Record<string, Tensor>, CompileOptions][] = [
      [{ a: back() }, { hoist: false }], [{ a: back() }, {}], [{ a: back(), b: back() }, {}], [{ a: back() }, { hideShapes: true }],
    ];
    for (const [outputs, options] of cases) {
      const executable = await compile({ outputs }, { weights: WEIGHTS, ...options });
      bytes.push(executable.derivedBytes);
      await executable.release();
    }
    expect(bytes[0]).toBe(0);
    // The rotated kernel; and where blocks are of 8 channels, the blocked one.
    expect(bytes[1]).toBeGreaterThanOrEqual(8 * 8 * 9 * 4);
    expect(bytes[2]).toBe(bytes[1]);
    expect(bytes[3]).toBe(0); // memory comes first there
  });

  test('one thread and two give the same numbers to rounding', async () => {
    const one = await compile({ outputs: block() }, { weights: WEIGHTS, threads: 1 });
    const two = await compile({ outputs: block() }, { weights: WEIGHTS, threads: 2 });
    expect(worst((await one.run({ x: X })).dx, (await two.run({ x: X })).dx)).toBeLessThan(1e-4);
    await one.release();
    await two.release();
  });

  test('inputs are checked by name, shape and dtype', async () => {
    const exe = await compile({ outputs: block() }, { weights: WEIGHTS });
    await expect(exe.run({})).rejects.toThrow(/input x .*not given/);
    await expect(exe.run({ x: numbers('x', [2, 8, 6, 5]) })).rejects.toThrow(/input x takes float32\[2, 8, 6, 6\], not float32\[2, 8, 6, 5\]/);
    await expect(exe.run({ x: host(new Int32Array(576), [2, 8, 6, 6], 'int32') })).rejects.toThrow(/input x takes float32.*int32/);
    await expect(exe.run({ x: X, w: WEIGHTS.get('w')! })).rejects.toThrow(/w was given as a weight/);
    await exe.release();
    await expect(compile({ outputs: block() }, { weights: { w: numbers('w', [1]), s: WEIGHTS.get('s')! } })).rejects.toThrow(/input w takes/);
  });

  // Where channels fill blocks, the weight itself is no input of the session: a blocked one takes its place.
  test.runIf(own !== null).each([8, 16, null])('with blocks of %s channels, weights of any width cannot be fed again', async (block) => {
    for (const c of [8, 16, 20]) {
      const [x, w] = [input('x', [2, c, 6, 6]), weight('w', [c, c, 3, 3])];
      const outputs = { y: conv2d(x, w, undefined, { padding: 1 }) };
      const feeds = { x: numbers('x', x.shape), w: numbers('w', w.shape) };
      for (const options of [{}, { hoist: false }, { bake: true }, { hideShapes: true }]) {
        const executable = await compile({ outputs }, { weights: { w: feeds.w }, channelBlock: block, ...options });
        await expect(executable.run(feeds)).rejects.toThrow('input w was given as a weight when compiling; it cannot change');
        await executable.release();
      }
      const open = await compile({ outputs }, { channelBlock: block });
      await expect(open.run({ x: feeds.x })).rejects.toThrow(/input w .*not given/);
      await expect(open.run({ ...feeds, w: numbers('w', [c, c, 3, 2]) })).rejects.toThrow(/input w takes/);
      await open.release();
    }
  });

  test('the first operator that makes NaN or infinity is named, with the weight it reads', async () => {
    const x = input('x', [2, 3]);
    const w = weight('layer.weight', [4, 3]);
    const bad = log(linear(x, w)); // NaN where the product is negative
    const exe = await compile({ outputs: { y: add(bad, 1) } }, { weights: { 'layer.weight': numbers('lw', [4, 3]) }, checkFinite: true });
    await expect(exe.run({ x: numbers('x', [2, 3]) })).rejects.toThrow(/Log/);
    const infinite = await compile({ outputs: { y: mul(div(1, x), 2) } }, { checkFinite: true });
    await expect(infinite.run({ x: host(new Float32Array(6), [2, 3]) })).rejects.toThrow(/Div|Reciprocal/);
    await exe.release();
    await infinite.release();
  });

  test('a profile counts operators and their time', async () => {
    const exe = await compile({ outputs: block() }, { weights: WEIGHTS });
    const found = await profile(exe, { x: X });
    expect(found.byType.map((t) => t.name).join()).toMatch(/Conv/);
    expect(found.byType.reduce((s, t) => s + t.share, 0)).toBeCloseTo(1, 3);
    expect(found.milliseconds).toBeGreaterThan(0);
    expect(formatProfile(found)).toMatch(/by operator type/);
    await exe.release();
  });

  test('a device that is not there is refused with a remedy', async () => {
    expect(availableDevices()).toContain('cpu');
    if (availableDevices().includes('cuda')) return;
    await expect(compile({ outputs: block() }, { weights: WEIGHTS, device: 'cuda' })).rejects.toThrow(DeviceError);
    await expect(compile({ outputs: block() }, { weights: WEIGHTS, device: 'cuda' })).rejects.toThrow(/cuda/i);
  });

  test('inputs may be called anything', async () => {
    const executable = await compile({ outputs: { y: mul(input('constructor', [2]), 2) } });
    const given = { constructor: host(Float32Array.of(1, 2), [2]) };
    expect([...(await executable.run(given)).y.data]).toEqual([2, 4]);
    await expect(executable.run({})).rejects.toThrow(/input constructor \(.*\) was not given/);
    await executable.release();
  });
});
