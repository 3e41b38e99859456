/** @file `npm run bench -- NAME [ARGUMENTS]`: runs a benchmark by name. */
import { benchBundledModel } from './bundled-model.js';
import { benchCaptions } from './captions.js';
import { benchEngine } from './engine.js';
import { benchGaussian } from './gaussian.js';
import { benchGuard } from './guard.js';
import { benchJudge } from './judge/index.js';
import { benchRealRewards } from './real-rewards.js';
import { benchRewards } from './rewards.js';
import { benchSd15 } from './sd15.js';
import { benchStudio } from './studio.js';
import { benchTrain } from './train.js';
import { benchWorkers } from './workers.js';

const BENCHES: Readonly<Record<string, (args: readonly string[]) => Promise<void>>> = {
  engine: benchEngine,
  'bundled-model': benchBundledModel,
  captions: benchCaptions,
  gaussian: benchGaussian,
  judge: benchJudge,
  guard: benchGuard,
  'real-rewards': benchRealRewards,
  rewards: benchRewards,
  sd15: benchSd15,
  studio: benchStudio,
  train: benchTrain,
  workers: benchWorkers,
};

const [name = '', ...args] = process.argv.slice(2);
const bench = BENCHES[name];
if (!bench) {
  console.error(`npm run bench -- NAME [ARGUMENTS], where NAME is one of: ${Object.keys(BENCHES).join(', ')}`);
  process.exitCode = 2;
} else await bench(args);
