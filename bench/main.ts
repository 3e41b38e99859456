/** @file `npm run bench -- NAME [FILTER]`: runs a benchmark by name. */
import { benchBundledModel } from './bundled-model.js';
import { benchEngine } from './engine.js';

const BENCHES: Readonly<Record<string, (filter?: string) => Promise<void>>> = {
  engine: benchEngine,
  'bundled-model': benchBundledModel,
};

const [name = '', filter] = process.argv.slice(2);
const bench = BENCHES[name];
if (!bench) {
  console.error(`npm run bench -- NAME [FILTER], where NAME is one of: ${Object.keys(BENCHES).join(', ')}`);
  process.exitCode = 2;
} else await bench(filter);
