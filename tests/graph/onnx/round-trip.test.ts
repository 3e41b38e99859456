import { expect, test } from 'vitest';
import { grad } from '../../../src/graph/grad.js';
import { exportOnnx } from '../../../src/graph/onnx/export.js';
import { silu } from '../../../src/graph/ops/activation.js';
import { mul, sqrt, square } from '../../../src/graph/ops/arithmetic.js';
import { attention } from '../../../src/graph/ops/attention.js';
import { conv2d, convTranspose2d } from '../../../src/graph/ops/conv.js';
import { cumSum } from '../../../src/graph/ops/cumulative.js';
import { gather } from '../../../src/graph/ops/gather.js';
import { pad, reshape, slice } from '../../../src/graph/ops/layout.js';
import { groupNorm, layerNorm } from '../../../src/graph/ops/norm.js';
import { maxPool2d } from '../../../src/graph/ops/pool.js';
import { logSumExp, sum } from '../../../src/graph/ops/reduce.js';
import { resize } from '../../../src/graph/ops/resize.js';
import { input, weight } from '../../../src/graph/tensor.js';
import type { Tensor } from '../../../src/graph/tensor.js';
import { compile } from '../../../src/runtime/compile.js';
import { difference, int64, noise, runImported } from './model-file.js';

/** A computation with most of what the models are made of. */
function traced(): Record<string, Tensor> {
  const x = input('x', [1, 4, 8, 8]);
  const w = weight('w', [8, 4, 3, 3]);
  const scale = weight('scale', [8]);
  const ids = input('ids', [3], 'int64');
  const features = silu(groupNorm(conv2d(x, w, undefined, { padding: 1, stride: 2 }), 2, scale, scale)); // [1, 8, 4, 4]
  const tokens = reshape(features, [1, 2, 8, 8]);
  const mixed = reshape(attention(tokens, tokens, layerNorm(tokens, scale, scale)), [1, 8, 4, 4]);
  const pooled = resize(maxPool2d(mixed, { kernel: 3, stride: 2, padding: 1 }), [5, 7], { mode: 'cubic' });
  const up = convTranspose2d(pad(pooled, [0, 0, 1, 0], [0, 0, 0, 2], 'reflect'), w, undefined, { stride: 2 });
  const rows = gather(reshape(cumSum(slice(up, [0, 0, 0, 0], [1, 4, 12, 12], [1, 1, 2, 2]), 2), [4, 36]), ids);
  const loss = sum(logSumExp(sqrt(mul(square(rows), 2)), { axes: [1] }));
  const [byX, byW] = grad(loss, [x, w]) as [Tensor, Tensor];
  return { loss, byX, byW };
}

test('a graph of our own with its gradients, exported and imported again, computes the same', async () => {
  const outputs = traced();
  const feeds = { x: noise([1, 4, 8, 8]), w: noise([8, 4, 3, 3], 2), scale: noise([8], 3), ids: int64([2, 0, 2]) };
  const executable = await compile({ outputs }, { threads: 1 });
  const ours = await executable.run(feeds);
  await executable.release();
  const again = await runImported(exportOnnx({ outputs }), feeds);
  for (const name of Object.keys(outputs)) {
    expect(again[name]!.shape).toEqual(ours[name]!.shape);
    expect(difference(again[name]!.data, ours[name]!.data), name).toBeLessThan(1e-5);
  }
});
