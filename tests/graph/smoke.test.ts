import { expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import { checkpoint, grad } from '../../src/graph/grad.js';
import { mul } from '../../src/graph/ops/arithmetic.js';
import { silu } from '../../src/graph/ops/activation.js';
import { conv2d } from '../../src/graph/ops/conv.js';
import { groupNorm } from '../../src/graph/ops/norm.js';
import { sum } from '../../src/graph/ops/reduce.js';
import { input } from '../../src/graph/tensor.js';
import { compile } from '../../src/runtime/compile.js';

test('a block with its gradients, checkpointed and not, agrees', async () => {
  const shape = [2, 8, 6, 6];
  const n = 2 * 8 * 36;
  const x = input('x', shape);
  const w = input('w', [8, 8, 3, 3]);
  const s = input('s', [8]);
  const f = (t: typeof x) => [mul(silu(conv2d(groupNorm(t, 2, s, s), w, undefined, { padding: 1 })), 2)];
  const loss = sum(mul(f(x)[0]!, f(x)[0]!));
  const y = checkpoint(f, [x])[0]!;
  const loss2 = sum(mul(y, y));
  const [dx, dw] = grad(loss, [x, w]);
  const [dx2, dw2] = grad(loss2, [x, w]);
  const exe = await compile({ outputs: { loss, loss2, dx: dx!, dw: dw!, dx2: dx2!, dw2: dw2! } });
  const rnd = (k: number): Float32Array => Float32Array.from({ length: k }, (_, i) => Math.sin(i * 12.9898 + k));
  const r = await exe.run({ x: host(rnd(n), shape), w: host(rnd(576), [8, 8, 3, 3]), s: host(rnd(8), [8]) });
  expect(r.loss.data[0]).toBeCloseTo(r.loss2.data[0] as number, 3);
  for (const [a, b] of [[r.dx, r.dx2], [r.dw, r.dw2]] as const) {
    a.data.forEach((v, i) => expect(Math.abs(Number(v) - Number(b.data[i]))).toBeLessThan(1e-3));
  }
});
