/**
 * @file The CPU reads weights and inputs where they lie. Should an ONNX Runtime copy them at each run (microsoft/onnxruntime
 * pull request 32346), runs of large models would take twice their weights: package.json allows 1.30 alone until this test
 * has passed with another.
 */
import { expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import { narrow } from '../../src/graph/ops/layout.js';
import { input, weight } from '../../src/graph/tensor.js';
import { compile } from '../../src/runtime/compile.js';
import { peakBytes, residentBytes, resetPeak } from '../../src/machine/memory.js';

/** 256 MiB, which take no memory before they are written to. */
const SHAPE = [4096, 16_384];

const large = () => host(new Float32Array(SHAPE[0]! * SHAPE[1]!), SHAPE);

test.skipIf(!resetPeak())('ten runs over 512 MiB of inputs take no copy of them', async () => {
  const outputs = { a: narrow(weight('w', SHAPE), 0, 7, 8), b: narrow(input('x', SHAPE), 0, 7, 8) };
  const executable = await compile({ outputs }, { weights: { w: large() }, threads: 1 });
  const feeds = { x: large() };
  resetPeak();
  const before = residentBytes();
  for (let i = 0; i < 10; i++) await executable.run(feeds);
  expect(peakBytes() - before).toBeLessThan(64 * 2 ** 20);
  await executable.release();
});
