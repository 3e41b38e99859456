/** @file The models that come with the package, in `models/` at its root, and what comes along with each. */
import { join } from 'node:path';
import { packageRoot } from '../../formats/package-root.js';
import { small } from './small.js';
import type { ModelFamily } from './family.js';

export interface BundledModel {
  readonly name: string;
  readonly family: ModelFamily;
  /** The same from `src/` and from `dist/`. */
  readonly folder: string;
  readonly notes: string;
  /** A judge that is never trained on, by its name as a reward. */
  readonly heldOut: string;
  /** A CLIP folder whose image features measure diversity and Fréchet distance. */
  readonly features: string;
  /** The bundled list of prompts that no other overlaps but the one of all names. */
  readonly heldOutPrompts: string;
  /** What `attune search` searches by where nothing else is given. */
  readonly searchReward: string;
}

const emojiFolder = join(packageRoot, 'models', 'emoji');

/** The default of all commands. Its settings are the defaults of a training configuration. */
export const emoji: BundledModel = {
  name: 'emoji',
  family: small as ModelFamily,
  folder: emojiFolder,
  notes: 'text to 64 x 64 emoji',
  heldOut: 'emoji-judge',
  features: join(emojiFolder, 'emoji-clip'),
  heldOutPrompts: 'heldout',
  searchReward: 'emoji-clip',
};

export const BUNDLED_MODELS: readonly BundledModel[] = [emoji];

/** The bundled model of a name; null for what names any other. */
export const bundledModel = (name: string): BundledModel | null => BUNDLED_MODELS.find((m) => m.name === name) ?? null;
