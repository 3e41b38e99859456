/** @file The families that can be loaded, and how a model's family is found. A new one is added here. */
import type { Family as OriginalNames } from '../../formats/names/single-file.js';
import { defineComponents } from '../components.js';
import type { ModelFamily } from './family.js';
import { sd1, sd2 } from './sd.js';
import { sdxl } from './sdxl.js';
import { small } from './small.js';

/** Where several could own a model the first one does. */
const known: ModelFamily[] = [];

/** Makes a family known; one of one's own is asked before those that are known. @throws Error if the name is taken */
export function registerFamily<C>(family: ModelFamily<C>): void {
  if (known.some(({ name }) => name === family.name)) throw new Error(`there is a model family "${family.name}" already`);
  if (family.components) defineComponents(family.components);
  known.unshift(family as ModelFamily);
}

for (const family of [small, sdxl, sd2, sd1]) registerFamily(family);

export const families = (): readonly ModelFamily[] => known;

/** Classes of pipeline that can be loaded, for messages. */
export const pipelineClasses = (): string[] => [...new Set(known.flatMap(({ folder }) => folder.pipelines))];

/** The families whose folders have this class of pipeline; which one it is the denoiser's configuration tells. */
export const familiesOfClass = (pipelineClass: unknown): ModelFamily[] =>
  known.filter(({ folder }) => folder.pipelines.includes(pipelineClass as string));

/** The one of these that owns a model with this denoiser; else the last, whose `misfit` then says what is wrong. */
export const ownerOf = (candidates: readonly ModelFamily[], config: unknown): ModelFamily =>
  candidates.find(({ folder }) => folder.owns(config)) ?? candidates.at(-1)!;

/** The family whose published model's single files have these original names. */
export const familyOfNames = (names: OriginalNames): ModelFamily =>
  known.find(({ singleFile }) => singleFile?.published?.names === names)!;
