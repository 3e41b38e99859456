/** @file The models that come with the package, in `models/` at its root, and what comes along with each. */
import { join } from 'node:path';
import { packageRoot } from '../formats/package-root.js';
import { small } from '../models/families/small.js';
import type { BundledModel, ModelFamily } from '../models/families/family.js';

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

/** A file or folder of a bundled model. */
export const partOf = ({ folder }: BundledModel, ...names: readonly string[]): string => join(folder, ...names);
