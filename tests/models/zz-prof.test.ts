import { test } from 'vitest';
import { frozenWeights, rootScope } from '/work/main/src/nn/scope.js';
import { input } from '/work/main/src/graph/tensor.js';
import { vjp } from '/work/main/src/graph/grad.js';
import { unetConfigSchema } from '/work/main/src/models/config.js';
import { unet } from '/work/main/src/models/unet.js';
import { exportOnnx } from '/work/main/src/graph/onnx/export.js';
import { compile } from '/work/main/src/runtime/compile.js';
import { createSession } from '/work/main/src/runtime/device.js';
import { loadFixture } from '/work/main/tests/models/fixture.js';
import { loraAdapter, planByTargets } from '/work/main/src/nn/lora.js';
test('x', async () => {
  const log: string[] = [];
  for (let k = 0; k < 2; k++) {
  const cpu = () => { const c = process.cpuUsage(); return (c.user + c.system) / 1000; };
  let c0 = cpu(); const lap = (n: string) => { const c = cpu(); log.push(n + ' ' + (c - c0).toFixed(0)); c0 = c; };
  const f = await loadFixture('unet_sd1'); lap('fixture');
  const config = unetConfigSchema.parse(f.meta['config']);
  const a = loraAdapter('a', planByTargets({ rank: 4 }));
  const out = unet(rootScope(frozenWeights(), [a], ''), config, { latents: input('x', [2, 4, 16, 16]), timestep: input('t', [2]), context: input('c', [2, 7, config.cross_attention_dim]) }); lap('trace');
  const ps = [...a.layers.values()].flatMap((l) => [l.down, l.up]);
  const g = vjp([out], ps, [input('g', out.shape)]); lap('vjp');
  const outputs = { out, ...Object.fromEntries(g.map((t, i) => ['g' + i, t])) };
  const bytes = exportOnnx({ outputs }); lap('export ' + bytes.length);
  for (const level of ['disabled', 'basic', 'all'] as const) { const s = await createSession(bytes, 'cpu', { graphOptimizationLevel: level, logSeverityLevel: 3, intraOpNumThreads: 1 }); lap('session ' + level); await s.release(); }
  const e = await compile({ outputs }, { weights: f.part('param.'), threads: 1 }); lap('compile');
  const e2 = await compile({ outputs }, { weights: f.part('param.'), threads: 1, hoist: false }); lap('compile nohoist');
  await e.release();await e2.release();
  }
  console.log(log.join('\n'));
}, 300000);
