/** @file What judges and feature spaces make of a run's evaluation pictures, kept beside the run so that it is done once. */
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { openDenoiserFeatures } from '../../src/evaluation/denoiser-features.js';
import { diversities } from '../../src/evaluation/diversity.js';
import { openFeatures } from '../../src/evaluation/features.js';
import type { FeatureExtractor } from '../../src/evaluation/features.js';
import { parseYaml } from '../../src/formats/yaml.js';
import { emoji } from '../../src/loading/bundled.js';
import { loadPipeline } from '../../src/loading/load.js';
import { openRewards, parseReward } from '../../src/rewards/registry.js';
import { openScorer } from '../../src/rewards/scorer.js';
import type { Scorer } from '../../src/rewards/scorer.js';
import { selfAlignment } from '../../src/rewards/self-alignment.js';
import { parseRows } from '../../src/runs/rows.js';
import type { RunConfig } from '../../src/training/config.js';
import { evaluationPictures } from './pictures.js';

export interface MeasuredStep {
  readonly step: number;
  /** The mean that was trained on. */
  readonly reward: number;
  /** Of each picture, by the independent judge. */
  readonly judge: readonly number[];
  /** Of each picture, as the program judges by default. */
  readonly self: readonly number[];
  /** Of each prompt, in emoji-clip's features and the base model's own. */
  readonly diversities: { readonly clip: readonly number[]; readonly unet: readonly number[] };
}

export interface MeasuredRun {
  readonly name: string;
  readonly steps: readonly MeasuredStep[];
}

/** The folder's name, with those above it where it is a run of a comparison or study. */
const nameOf = (folder: string): string =>
  (/^(seed-\d+|run.*)$/.test(basename(folder)) ? folder.split('/').filter((part) => part !== 'runs').slice(-3).join('-') : basename(folder));

export interface Instruments {
  measure(folder: string): Promise<MeasuredRun>;
  release(): Promise<void>;
}

export async function openInstruments(): Promise<Instruments> {
  const compile = { threads: 1 };
  const pipeline = await loadPipeline('emoji');
  const judge = openScorer(await openRewards([parseReward('emoji-judge')]), { compile });
  const self = openScorer(selfAlignment('self', pipeline, { compile }));
  const spaces: Record<'clip' | 'unet', FeatureExtractor> = {
    clip: await openFeatures(emoji.features, { tokenizer: null, compile }), unet: openDenoiserFeatures(pipeline, { compile }),
  };
  return {
    async measure(folder) {
      const kept = join(folder, 'judged.json');
      if (existsSync(kept)) return JSON.parse(await readFile(kept, 'utf8')) as MeasuredRun;
      const config = parseYaml(await readFile(join(folder, 'config.yaml'), 'utf8'), folder) as RunConfig;
      const rows = parseRows(await readFile(join(folder, 'metrics.jsonl'), 'utf8'), folder, '');
      const steps: MeasuredStep[] = [];
      for (const { step, prompts, images } of await evaluationPictures(folder, config)) {
        const score = async (scorer: Scorer): Promise<number[]> => [...await scorer.score(images, prompts)];
        steps.push({
          step, reward: rows.find((r) => r.step === step && r.evalReward !== undefined)!.evalReward!, judge: await score(judge), self: await score(self),
          diversities: {
            clip: diversities(await spaces.clip.images(images), prompts), unet: diversities(await spaces.unet.images(images), prompts),
          },
        });
      }
      const run: MeasuredRun = { name: nameOf(folder), steps };
      await writeFile(kept, JSON.stringify(run));
      return run;
    },
    async release() {
      for (const scorer of [judge, self]) await scorer.release();
      for (const space of Object.values(spaces)) await space.release();
    },
  };
}
