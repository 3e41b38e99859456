/**
 * @file The layers of src, and that they hold: a folder imports itself and those before it, only src/runtime imports
 * ONNX Runtime, no file imports itself through others, and what is to run in browsers too keeps to web standards, with all
 * that it draws in. `npm run lint` runs it.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import process from 'node:process';

const LAYERS = [
  'host', 'graph', 'runtime', 'machine', 'random', 'formats', 'workers', 'nn', 'models', 'loading', 'schedulers', 'rewards', 'evaluation', 'methods', 'sampling', 'search',
  'runs', 'training', 'comparison', 'studio', 'cli',
];
/** Packages that one folder alone may import, the reason being that it stands for them. */
const OWNERS = [[/^onnxruntime-/, 'runtime'], [/^commander$/, 'cli']];
/** Layers of the core (src/core.ts): nothing in them is Node's. What is of files, processes and machines lies in others. */
const CORE = ['host', 'graph', 'runtime', 'random', 'nn', 'models', 'schedulers', 'rewards', 'evaluation', 'methods', 'sampling', 'search'];
/** Those of them that may open files by way of others, since a name (of a reward, of a space of features) stands for files. */
const OPENS_FILES = ['rewards', 'evaluation'];
/** Left out of bundles for browsers by package.json. */
const NOT_IN_BROWSERS = 'runtime/telemetry.ts';
const NODE_ONLY = /\bBuffer[.(>]|: Buffer\b|\bNodeJS\.|\bsetImmediate\(|\bprocess\.(?:env|exit|std|platform|arch|memory|constrained|resource|version|cwd|argv|hrtime|nextTick|on|kill|pid)\w*|\b__dirname\b|(?:from|import) ?\(?'node:/;

const IMPORT = /^\s*(?:import|export)\s+(type\s)?[^'";]*?from\s+'([^']+)'/gm;

const root = new URL('../src', import.meta.url).pathname;
const files = readdirSync(root, { recursive: true }).filter((f) => f.endsWith('.ts')).toSorted();
const faults = [];
/** Imports that are there when the program runs, file by file. */
const edges = new Map();
/** What of Node a file uses itself, file by file. */
const ofNode = new Map();

for (const file of files) {
  const layer = LAYERS.indexOf(file.split('/')[0]);
  edges.set(file, []);
  const text = readFileSync(join(root, file), 'utf8');
  const node = NODE_ONLY.exec(text.replaceAll(/^\s*(?:\/?\*|\/\/).*$/gm, ''));
  if (node && file !== NOT_IN_BROWSERS) ofNode.set(file, node[0]);
  for (const [, type, from] of text.matchAll(IMPORT)) {
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

/** The way from a file to the nearest one that needs Node, itself included; null if there is none. */
function wayToNode(from) {
  const through = new Map([[from, [from]]]);
  for (const [file, way] of through) {
    if (ofNode.has(file)) return way;
    for (const next of edges.get(file) ?? []) if (!through.has(next)) through.set(next, [...way, next]);
  }
  return null;
}
for (const file of files) {
  const layer = file.split('/')[0];
  if (file !== 'core.ts' && !CORE.includes(layer)) continue;
  const way = wayToNode(file);
  if (!way || (OPENS_FILES.includes(layer) && way.length > 1)) continue;
  faults.push(`${way.join(' -> ')}: "${ofNode.get(way.at(-1))}" is Node's alone; ${layer === 'core.ts' ? 'attune/core' : `src/${layer}`} runs in browsers too`);
}

for (const fault of faults) process.stderr.write(`${fault}\n`);
process.exitCode = faults.length > 0 ? 1 : 0;
