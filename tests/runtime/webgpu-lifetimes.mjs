/** @file A process that opens, shares, breaks and releases what lies on the GPU; one JSON line for each finding. */
import process from 'node:process';

const from = (path) => import(new URL(`../../dist/${path}`, import.meta.url).href);
const { input, weight, matmul, transpose, add, cast, expand, slice } = await from('graph/index.js');
const { compile } = await from('runtime/compile.js');
const { openDeviceCopies } = await from('runtime/device-copies.js');
const { gpuBuffers, traffic } = await from('runtime/gpu-buffers.js');
const { computesFloat16 } = await from('runtime/webgpu.js');
const { chosenPrecision } = await from('training/precision.js');

const SIDE = 64;
const matrix = (f) => ({ data: Float32Array.from({ length: SIDE * SIDE }, (_, i) => f(i)), shape: [SIDE, SIDE], dtype: 'float32' });
const weights = { w: matrix((i) => Math.sin(i)) };
const feeds = { x: matrix((i) => Math.cos(i)) };
const [w, x] = [weight('w', [SIDE, SIDE]), input('x', [SIDE, SIDE])];
const graphs = [{ outputs: { y: matmul(x, w) } }, { outputs: { y: matmul(w, x) } }];
/** Reads w as it is, and what is made of it beforehand. */
const derived = { outputs: { y: add(matmul(x, add(transpose(w, [1, 0]), w)), w) } };
const open = (graph, more = {}) => compile(graph, { device: 'webgpu', threads: 1, weights, ...more });
const tell = (finding) => process.stdout.write(`${JSON.stringify(finding)}\n`);

async function value(executable) {
  const { y } = await executable.run(feeds);
  return y.data;
}

async function error(graph, executable) {
  const cpu = await compile(graph, { threads: 1, weights });
  const [a, b] = [await value(cpu), await value(executable)];
  await cpu.release();
  return Math.max(...a.map((v, i) => Math.abs(v - b[i])));
}

for (const order of [[0, 1], [1, 0]]) {
  const both = [await open(graphs[0]), await open(graphs[1])];
  const shared = gpuBuffers();
  const errors = [await error(graphs[0], both[0]), await error(graphs[1], both[1])];
  await both[order[0]].release();
  const last = await error(graphs[order[1]], both[order[1]]);
  await both[order[1]].release();
  tell({ what: `two executables, released ${order.join()}`, shared, error: Math.max(...errors, last), left: gpuBuffers().buffers });
}

const made = await open(derived);
tell({ what: 'made of weights', shared: gpuBuffers(), error: await error(derived, made) });
// What fails in between takes nothing along: a graph that wants another shape, a feed that is missing, an interrupt.
const failures = [
  () => compile({ outputs: { y: weight('w', [SIDE, 1]) } }, { device: 'webgpu', weights }),
  () => made.run({}),
  () => open(graphs[0], { signal: AbortSignal.abort(new Error('interrupted')) }),
];
const refused = [];
for (const attempt of failures) refused.push(await attempt().then(() => null, ({ message }) => message));
const after = await error(derived, made);
await made.release();
await made.release();
tell({ what: 'failures between', refused, error: after, left: gpuBuffers().buffers });

// What is trained crosses when it has changed, and only then.
const copies = openDeviceCopies((name) => name === 'x');
const trained = await open(graphs[0], { copies });
const changing = { x: matrix((i) => Math.cos(i)) };
const crossed = [];
const values = [];
for (const change of [false, false, true, false]) {
  if (change) changing.x.data[5] += 1;
  const before = traffic().up;
  values.push((await trained.run(changing)).y.data[5]);
  crossed.push(traffic().up - before);
}
await trained.release();
copies.release();
tell({ what: 'copies', crossed, changed: [values[1] === values[0], values[2] !== values[1], values[3] === values[2]], left: gpuBuffers().buffers });

// Half precision where the adapter has none is refused before it is run; and `auto` does not choose it.
const said = [];
const half = await computesFloat16();
const precision = await chosenPrecision('auto', 'webgpu', (text) => said.push(text));
const inHalf = { outputs: { y: cast(add(cast(x, 'float16'), cast(x, 'float16')), 'float32') } };
const refusal = await compile(inHalf, { device: 'webgpu' }).then((made) => made.release().then(() => null), ({ name, message }) => `${name}: ${message}`);
tell({ what: 'half', half, precision, said, refusal });

// More in one tensor than any adapter of these drivers holds (nothing is computed): a sentence, and the device goes on.
const LARGE = 400e6;
const large = await compile({ outputs: { y: slice(add(expand(input('one', [1]), [LARGE]), 1), [LARGE - 4], [LARGE]) } }, { device: 'webgpu' });
const reason = await large.run({ one: { data: Float32Array.of(1), shape: [1], dtype: 'float32' } }).then(() => null, ({ name, message }) => `${name}: ${message}`);
await large.release();
const onwards = await open(graphs[0]);
tell({ what: 'too large', reason, error: await error(graphs[0], onwards) });
await onwards.release();

/** Bytes resident once garbage is gone. */
const resident = () => {
  globalThis.gc();
  return process.memoryUsage.rss();
};
const often = await open(graphs[0]);
for (let i = 0; i < 20; i++) await value(often);
const before = resident();
for (let i = 0; i < 300; i++) await value(often);
const runs = resident() - before;
for (let i = 0; i < 100; i++) {
  const again = await open(graphs[1]);
  await value(again);
  await again.release();
}
await often.release();
tell({ what: 'growth', runs, sessions: resident() - before, left: gpuBuffers().buffers });
// The sessions that hold buffers are open still: leaving must not need them to be closed.
