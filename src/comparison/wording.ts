/** @file What the page and the Markdown of a comparison say in words. */
import { setText } from '../evaluation/compared.js';
import { bestText } from '../evaluation/hacking-guard.js';
import { MANY } from '../evaluation/kid.js';
import { numberText } from '../evaluation/ticks.js';
import type { Measure, Results } from './results.js';

const dotted = (value: unknown, path: string): [string, unknown][] =>
  (typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.entries(value).flatMap(([k, v]) => dotted(v, path ? `${path}.${k}` : k)) : [[path, value]]);

/** Settings as "method.name draft, method.k 1, lr 0.003". */
export function settingsText(settings: unknown): string {
  const text = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value));
  return dotted(settings, '').map(([key, value]) => `${key} ${text(value)}`).join(', ');
}

/** The common ground: budget, seeds, settings. */
export function groundText({ comparison, common }: Results): string {
  const { updates, rewardQueries, seconds } = comparison.budget;
  const limits = [
    ...(updates === null ? [] : [`${updates} updates`]),
    ...(rewardQueries === null ? [] : [`${rewardQueries.toLocaleString('en')} reward queries`]),
    ...(seconds === null ? [] : [`${seconds} seconds of training`]),
  ];
  const end = limits.length === 0 ? 'its own number of updates' : limits.join(' or ');
  const { model, rewards, prompts, samplingSteps, guidance, evaluation } = common;
  const what = `Model ${model}, reward ${rewards.join(' + ')}, prompts ${prompts}, `
    + `${samplingSteps} sampling steps, guidance ${guidance}.`;
  const { promptSet, images, eta } = evaluation;
  const list = promptSet === undefined ? '' : ` of ${promptSet}`;
  const judged = `Evaluated on the first ${evaluation.prompts} prompts${list}, ${images} images each, with DDIM at η ${eta}.`;
  const settings = settingsText(comparison.settings);
  const run = `Each run ends after ${end}. Seeds: ${comparison.seeds.join(', ')}.`;
  return `${what} ${judged} ${run}${settings ? ` Settings of all entries: ${settings}.` : ''}`;
}

/** The rule that each run chose its best checkpoint by, as the comparison's settings and what was measured make it. */
export function bestNote({ common, entries }: Results): string {
  const measured = (name: 'heldOutReward' | 'diversity'): boolean => entries.some((e) => e.last[name] !== undefined);
  return bestText({ heldOut: measured('heldOutReward') ? 'held-out' : null, features: measured('diversity') }, common.guard);
}

/** What the best checkpoints were chosen by, and what is beyond it. */
export const reportedNote = ({ reportedOn }: Results): string => (reportedOn === null ? ''
  : `The best checkpoints once more, on ${setText(reportedOn)}: prompts and noise that did not choose them. Best-of-n is not `
  + 'measured there.');

export const CHANGE_NOTE = 'What changed there from the base model, with 95% bootstrap intervals over the prompts of the means over seeds '
  + '(the seeds are taken as they are).';

export const TABLE_NOTE = 'Means over seeds ± sample deviation. All entries are evaluated on the same prompts and the '
  + 'same noise with one sampler, so that all start from the base model\'s numbers. Costs are those of training, '
  + 'evaluations not counted; for best-of-n they are what the evaluation images cost, and further images cost again.';

/** How large a Fréchet distance is that means nothing, where that was measured, and what the other distances are. */
export function frechetNote({ independentFrechet: d, entries, common: { evaluation } }: Results): string {
  const images = evaluation.prompts * evaluation.images;
  const has = (name: Measure): boolean => entries.some((e) => e.last[name] !== undefined);
  return [
    ...(d === null ? [] : [`Two sets of the base model's own samples from different noise are a Fréchet distance of ${numberText(d)} apart. Trained models share `
      + 'their noise with the base model\'s set and can be nearer; best-of-n does not.']),
    ...(has('frechet') && images < MANY ? [`Of ${images} images it can be held against distances of as many alone: it falls with their number. The kernel distance (KID) does not.`] : []),
    ...(has('drift') ? ['Drift is the mean distance between an image and the base model\'s of the same prompt and noise; wins are the share of images with more reward than that one.'] : []),
  ].join(' ');
}

export function priceNote({ price, comparison }: Results): string {
  if (!price) return '';
  const why = comparison.threshold === null ? ', the smallest final reward among the entries that gained any' : '';
  return `What each entry had spent when its evaluated reward reached ${numberText(price.target)}${why}. `
    + 'Between two evaluations the reward is taken to rise evenly.';
}

export const MATRIX_NOTE =
  'Reward queries that the entry of a row needs for the final reward of the entry of a column.';

/** What is not in the numbers. */
export function gaps({ failures, missing }: Results): string[] {
  return [
    ...failures.map((f) => `${f.entry}, seed ${f.seed}, failed: ${f.reason}`),
    ...(missing > 0 ? [`Not finished: ${missing} of the runs; give the command again to go on.`] : []),
  ];
}
