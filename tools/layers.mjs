/**
 * @file The layers of src, and that they hold: a folder imports itself and those before it, only src/runtime imports
 * ONNX Runtime, and no file imports itself through others. `npm run lint` runs it.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import process from 'node:process';

const LAYERS = [
  'graph', 'runtime', 'random', 'formats', 'nn', 'models', 'schedulers', 'rewards', 'evaluation', 'methods', 'sampling', 'search', 'runs', 'training',
  'comparison', 'cli',
];
/** Packages that one folder alone may import, the reason being that it stands for them. */
const OWNERS = [[/^onnxruntime-/, 'runtime'], [/^commander$/, 'cli']];
const IMPORT = /^\s*(?:import|export)\s+(type\s)?[^'";]*?from\s+'([^']+)'/gm;

const root = new URL('../src', import.meta.url).pathname;
const files = readdirSync(root, { recursive: true }).filter((f) => f.endsWith('.ts')).toSorted();
const faults = [];
/** Imports that are there when the program runs, file by file. */
const edges = new Map();

for (const file of files) {
  const layer = LAYERS.indexOf(file.split('/')[0]);
  edges.set(file, []);
  for (const [, type, from] of readFileSync(join(root, file), 'utf8').matchAll(IMPORT)) {
    if (!from.startsWith('.')) {
      const owner = OWNERS.find(([name]) => name.test(from))?.[1];
      if (owner && LAYERS[layer] !== owner) faults.push(`${file}: only src/${owner} imports ${from}`);
      continue;
    }
    const target = relative(root, join(root, dirname(file), from)).replace(/\.js$/, '.ts');
    const other = LAYERS.indexOf(target.split('/')[0]);
    if (layer >= 0 && (other < 0 || other > layer)) faults.push(`${file}: src/${LAYERS[layer]} may not import ${target}; it comes later`);
    if (!type) edges.get(file).push(target);
  }
}

const state = new Map();
/** Depth first; a file met again on the way down closes a cycle. */
function visit(file, path) {
  if (state.get(file) === 'done') return;
  if (state.get(file) === 'open') {
    faults.push(`import cycle: ${[...path.slice(path.indexOf(file)), file].join(' -> ')}`);
    return;
  }
  state.set(file, 'open');
  for (const next of edges.get(file) ?? []) visit(next, [...path, file]);
  state.set(file, 'done');
}
for (const file of files) visit(file, []);

for (const fault of faults) process.stderr.write(`${fault}\n`);
process.exitCode = faults.length > 0 ? 1 : 0;
