/** @file Which prompts and noise a run is measured on: those that choose the checkpoint, and others to report it on. */
import { ConfigError } from '../formats/errors.js';
import { emoji } from '../loading/bundled.js';
import type { BundledModel } from '../models/families/family.js';
import type { RunConfig } from './config.js';
import type { EvaluationSet } from './evaluate.js';
import { loadPrompts } from './prompts.js';
import type { PromptSet } from './prompts.js';

export interface EvaluationSets {
  /** Checkpoints are judged and chosen by these. */
  readonly selection: EvaluationSet;
  /** The chosen one is reported on these, of other noise: prompts that are not trained on first, where there are some. */
  readonly reported: readonly EvaluationSet[];
}

/** Evenly from the whole list: it may be sorted by kind. */
const spread = (list: readonly string[], count: number): string[] =>
  (list.length <= count ? [...list] : Array.from({ length: count }, (_, i) => list[Math.floor((i * list.length) / count)]!));

async function untrainedPrompts({ evaluation }: RunConfig, bundled: BundledModel | null, trained: ReadonlySet<string>): Promise<PromptSet | null> {
  const { promptSet } = evaluation.final;
  // What that list names is no matter of one model.
  const name = promptSet === 'auto' ? (bundled ?? emoji).heldOutPrompts : promptSet;
  if (name === null) return null;
  const list = await loadPrompts(name);
  const prompts = list.prompts.filter((p) => !trained.has(p));
  if (prompts.length === 0 && promptSet !== 'auto') {
    throw new ConfigError(`evaluation.final.promptSet: all prompts of ${name} are trained on; give another list, or null for none`);
  }
  return prompts.length === 0 ? null : { ...list, prompts };
}

/**
 * @param bundled which of the package's own models it is
 * @throws ConfigError for a list that is not there or only repeats the training prompts, or noise that is used twice
 */
export async function evaluationSets(config: RunConfig, bundled: BundledModel | null, training: PromptSet): Promise<EvaluationSets> {
  const { promptSet, prompts: count, images, seed, final } = config.evaluation;
  const trained = new Set(training.prompts);
  const set = (list: string, chosen: readonly string[], each: number, first: number): EvaluationSet => ({
    list, first, untrained: chosen.every((p) => !trained.has(p)),
    prompts: chosen.flatMap((p) => new Array<string>(each).fill(p)),
  });
  const own = promptSet === undefined ? training : await loadPrompts(promptSet);
  const selection = set(own.name, own.prompts.slice(0, count), images, 0);
  if (final.prompts === 0) return { selection, reported: [] };
  const untrained = await untrainedPrompts(config, bundled, trained);
  const rest = own.prompts.slice(count);
  const reported = [
    ...(untrained ? [{ name: untrained.name, prompts: untrained.prompts }] : []),
    { name: own.name, prompts: rest.length === 0 ? own.prompts : rest },
  ].map(({ name, prompts }) => set(name, spread(prompts, final.prompts), final.images, final.seed - seed));
  const [end, finalEnd] = [seed + selection.prompts.length, final.seed + Math.max(...reported.map((r) => r.prompts.length))];
  if (final.seed < end && seed < finalEnd) {
    throw new ConfigError(`evaluation.final.seed: the noise of seeds ${final.seed} to ${finalEnd - 1} overlaps that of the `
      + `evaluations, ${seed} to ${end - 1}; give another seed`);
  }
  return { selection, reported };
}
