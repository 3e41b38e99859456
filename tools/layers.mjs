/**
 * @file The layers of src, and that they hold: a folder imports itself and those before it, only src/runtime imports
 * ONNX Runtime, no file imports itself through others, and what is to run in browsers too keeps to web standards but for
 * its files about files. `npm run lint` runs it.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import process from 'node:process';

const LAYERS = [
  'host', 'graph', 'runtime', 'random', 'formats', 'nn', 'models', 'schedulers', 'rewards', 'evaluation', 'methods', 'sampling', 'search', 'runs', 'training',
  'comparison', 'studio', 'cli',
];
/** Packages that one folder alone may import, the reason being that it stands for them. */
const OWNERS = [[/^onnxruntime-/, 'runtime'], [/^commander$/, 'cli']];
/** Layers of the core (src/core.ts), and which of their files are about files, processes or the package's place. */
const CORE = ['host', 'graph', 'random', 'nn', 'models', 'schedulers', 'rewards', 'evaluation', 'methods', 'sampling', 'search'];
const ABOUT_FILES = new RegExp(`^(?:${[
  'graph/onnx/(?:files|import-file)', 'models/(?:load[\\w-]*|save|hub[\\w-]*|find-lora|text-embeddings|[\\w-]+-files|families/bundled)',
  'rewards/(?:style|reward-model|emoji-clip)',
].join('|')})\\.ts$`);
const NODE_ONLY = /\bBuffer\.|\bsetImmediate\(|\bprocess\.(?:env|exit|std|platform|arch|memory|resource|version|cwd|argv|hrtime|nextTick|on)\w*|\b__dirname\b|from 'node:/;

const IMPORT = /^\s*(?:import|export)\s+(type\s)?[^'";]*?from\s+'([^']+)'/gm;

const root = new URL('../src', import.meta.url).pathname;
const files = readdirSync(root, { recursive: true }).filter((f) => f.endsWith('.ts')).toSorted();
const faults = [];
/** Imports that are there when the program runs, file by file. */
const edges = new Map();
/** Files that import a module of Node. */
const ofNode = new Set();

for (const file of files) {
  const layer = LAYERS.indexOf(file.split('/')[0]);
  edges.set(file, []);
  const text = readFileSync(join(root, file), 'utf8');
  const node = CORE.includes(LAYERS[layer]) && !ABOUT_FILES.test(file) ? NODE_ONLY.exec(text.replaceAll(/^\s*(?:\/?\*|\/\/).*$/gm, '')) : null;
  if (node) faults.push(`${file}: "${node[0]}" is Node's alone; src/${LAYERS[layer]} runs in browsers too`);
  for (const [, type, from] of text.matchAll(IMPORT)) {
    if (!from.startsWith('.')) {
      if (from.startsWith('node:')) ofNode.add(file);
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

/** What src/core.ts draws in, and through what. package.json leaves the telemetry's switch out for browsers. */
const through = new Map([['core.ts', []]]);
for (const [file, way] of through) {
  if (ofNode.has(file) && file !== 'runtime/telemetry.ts') faults.push(`${file} needs Node, and attune/core draws it in: ${[...way, file].join(' -> ')}`);
  for (const next of edges.get(file) ?? []) if (!through.has(next)) through.set(next, [...way, file]);
}

for (const fault of faults) process.stderr.write(`${fault}\n`);
process.exitCode = faults.length > 0 ? 1 : 0;
