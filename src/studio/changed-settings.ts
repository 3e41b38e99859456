/** @file Which settings of a run are not their defaults: the short way to say what it is. */
import { isDeepStrictEqual } from 'node:util';
import { leaves } from '../runs/settings.js';
import { resolveConfig } from '../training/config.js';

/** By dotted name. Settings of versions that are no more are kept as they are: the command says so when it is called. */
export function changedSettings(settings: object): Record<string, unknown> {
  const given = leaves(settings);
  const model = given.find(([path]) => path === 'model')?.[1];
  const rewards = given.find(([path]) => path === 'rewards')?.[1];
  // Other models start from other defaults, and have no default rewards.
  const preset = new Map(leaves(resolveConfig({ model: String(model), ...(model === 'emoji' ? {} : { rewards }) }, [])));
  return Object.fromEntries(given.filter(([path, value]) => path === 'model' ? model !== 'emoji'
    : path === 'rewards' && model !== 'emoji' ? true : !isDeepStrictEqual(preset.get(path), value)));
}
