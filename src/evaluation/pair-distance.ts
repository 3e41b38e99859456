/** @file LPIPS as a measure: how different two images look, pair by pair. */
import { z } from 'zod';
import { ConfigError } from '../formats/errors.js';
import { suggestion } from '../formats/nearest.js';
import type { HostTensor } from '../graph/dtype.js';
import { input } from '../graph/tensor.js';
import { LPIPS_TRUNKS } from '../models/lpips.js';
import type { LpipsTrunk } from '../models/lpips.js';
import { openLpips } from '../rewards/lpips-reward.js';
import { LPIPS_FILES } from '../rewards/registry.js';
import { takeRows } from '../rewards/rows.js';
import { compile } from '../runtime/compile.js';
import type { Executable, Execution } from '../runtime/compile.js';
import { findNamed, mapNamedPaths, valuesOf } from './named-options.js';
import type { Found } from './named-options.js';

export interface PairDistance {
  /** Of images [N, 3, H, W] in [0, 1], row by row. */
  distances(a: HostTensor, b: HostTensor): Promise<number[]>;
  release(): Promise<void>;
}

const SETTING = 'evaluation.lpips';
const options = z.strictObject(LPIPS_FILES);
const TRUNKS = Object.fromEntries(Object.keys(LPIPS_TRUNKS).map((trunk) => [trunk, { options }])) as Record<LpipsTrunk, { options: typeof options }>;
const BATCH = 4;

function trunkOf(text: string): Found<{ options: typeof options }> {
  const found = findNamed(TRUNKS, text, SETTING);
  if (found) return found;
  const [name = ''] = text.split('?');
  throw new ConfigError(`${SETTING}: there is no trunk "${name}". ${suggestion(name, Object.keys(TRUNKS))} Write alex?features=FILE&lins=FILE`);
}

/** The setting with every path in it replaced. @throws ConfigError as `openPairDistance` */
export const mapPairPaths = (text: string, replace: (path: string) => string): string => mapNamedPaths(trunkOf(text), replace);

/**
 * @param text `alex?features=FILE&lins=FILE`, or vgg or squeeze
 * @throws ConfigError for another trunk or option; FormatError for a file that is missing or wrong
 */
export async function openPairDistance(text: string, execution: Execution): Promise<PairDistance> {
  const found = trunkOf(text);
  const { weights, distances } = await openLpips('lpips', { trunk: found.name as LpipsTrunk, ...valuesOf(found, SETTING) });
  const compiled = new Map<string, Executable<'rows'>>();
  return {
    async distances(a, b) {
      const shape = [BATCH, ...a.shape.slice(1)];
      const key = shape.join();
      const executable = compiled.get(key)
        ?? await compile({ outputs: { rows: distances(input('a', shape), input('b', shape)) } }, { ...execution, weights });
      compiled.set(key, executable);
      const all: number[] = [];
      for (let start = 0; start < a.shape[0]!; start += BATCH) {
        const { rows } = await executable.run({ a: takeRows(a, start, BATCH), b: takeRows(b, start, BATCH) });
        all.push(...(rows.data as Float32Array).subarray(0, Math.min(BATCH, a.shape[0]! - start)));
      }
      return all;
    },
    async release() {
      for (const executable of compiled.values()) await executable.release();
      compiled.clear();
    },
  };
}
