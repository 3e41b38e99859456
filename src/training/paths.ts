/** @file Which settings are paths: made absolute, so that a run can go on from anywhere, or bare, where others read them. */
import { existsSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { DENOISER_SPACE } from '../evaluation/denoiser-features.js';
import { mapPairPaths } from '../evaluation/pair-distance.js';
import { mapSpacePaths } from '../evaluation/spaces.js';
import { findMethod } from '../methods/index.js';
import { bundledModel, emoji } from '../loading/bundled.js';
import { mapPaths } from '../rewards/path-option.js';
import { mapRewardPaths, RewardSpecError } from '../rewards/registry.js';
import type { RunConfig } from './config.js';

type Replace = (path: string) => string;

/** The configuration with every path in it replaced; names of bundled things and hub ids are none. */
function withPaths(config: RunConfig, replace: Replace): RunConfig {
  const model = (name: string): string => (bundledModel(name) || !existsSync(name) ? name : replace(name));
  /** `FILE[:word]`, as `readEmbeddings` takes it. */
  const embedding = (text: string): string => {
    const word = existsSync(text) ? '' : (/:[^:/\\]+$/.exec(text)?.[0] ?? '');
    return `${model(text.slice(0, text.length - word.length))}${word}`;
  };
  const bundledList = (name: string): boolean => existsSync(join(emoji.folder, 'prompts', `${basename(name)}.txt`)) && basename(name) === name;
  const prompts = (name: string): string => (bundledList(name) ? name : replace(name));
  const reward = (spec: string): string => {
    try {
      return mapRewardPaths(spec, replace);
    } catch (error) {
      if (error instanceof RewardSpecError) return spec; // a caller's own reward, or a mistake that is told when it is opened
      throw error;
    }
  };
  const constraint = (text: string): string => text.replace(/^(.*)([<>]=[^<>]*)$/s, (_, spec: string, bound: string) => `${reward(spec)}${bound}`);
  const { name, ...options } = config.method;
  const method = findMethod(name);
  const { promptSet, features, lpips, heldOut, final } = config.evaluation;
  const reported = final.promptSet;
  return {
    ...config,
    model: model(config.model),
    ...(config.like !== undefined && { like: model(config.like) }),
    ...(config.vae !== undefined && { vae: model(config.vae) }),
    embeddings: config.embeddings.map(embedding),
    prompts: prompts(config.prompts),
    rewards: config.rewards.map(reward),
    subjectTo: config.subjectTo.map(constraint),
    method: { name, ...(method ? mapPaths(method.options, options, replace) as typeof options : options) },
    evaluation: {
      ...config.evaluation,
      ...(promptSet !== undefined && { promptSet: prompts(promptSet) }),
      final: { ...final, promptSet: reported === null || reported === 'auto' ? reported : prompts(reported) },
      features: features === null || features === 'auto' || features === DENOISER_SPACE ? features : mapSpacePaths(features, replace),
      lpips: lpips === null ? null : mapPairPaths(lpips, replace),
      heldOut: heldOut === null || heldOut === 'auto' ? heldOut : reward(heldOut),
    },
  };
}

/** The configuration as it reads from any folder. */
export const absolutePaths = (config: RunConfig): RunConfig => withPaths(config, (path) => resolve(path));

/** The configuration as it may be published: names of files without the folders that they lie in here. */
export const barePaths = (config: RunConfig): RunConfig => withPaths(config, (path) => basename(path));

/** The paths of a method's data, by the names of their options. */
export function methodPaths(config: RunConfig): string[] {
  const { name, ...options } = config.method;
  const found: string[] = [];
  const method = findMethod(name);
  if (method) {
    mapPaths(method.options, options, (path) => {
      found.push(path);
      return path;
    });
  }
  return found;
}
