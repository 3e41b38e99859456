/** @file Measures a model: fixed prompts and seeds, reward, held-out reward, diversity, and how far it is from its base model. */
import { diversities, drifts } from '../evaluation/diversity.js';
import { deviation, meanOf } from '../evaluation/evaluation.js';
import type { FeatureExtractor } from '../evaluation/features.js';
import { frechetDistance, gaussianStatistics } from '../evaluation/frechet.js';
import { frechetInfinity, kernelDistance } from '../evaluation/kid.js';
import type { PairDistance } from '../evaluation/pair-distance.js';
import { winRate } from '../evaluation/win-rate.js';
import type { Judged, Measures } from '../evaluation/hacking-guard.js';
import type { HostTensor } from '../graph/dtype.js';
import type { Rollouts } from '../methods/rollout.js';
import { measured } from '../methods/work.js';
import { joinRows } from '../rewards/rows.js';
import type { Scorer } from '../rewards/scorer.js';
import type { PipelineSampling } from '../sampling/model.js';
import type { Plan } from '../schedulers/plan.js';
import type { RunConfig } from './config.js';
import type { Progress } from '../runs/progress.js';

/** What is sampled to measure a model: the prompt of each image, and the noise. */
export interface EvaluationSet {
  /** The list that the prompts are from. */
  readonly list: string;
  /** Whether none of the prompts is trained on. */
  readonly untrained: boolean;
  readonly prompts: readonly string[];
  /** Image i is made from the rollouts' item `first` + i. */
  readonly first: number;
}

export interface EvaluatorParts {
  model: PipelineSampling;
  /** Samples from noise by item that training does not use. */
  rollouts: Rollouts;
  /** The rollouts'. */
  plan: Plan;
  /** What checkpoints are chosen by. */
  selection: EvaluationSet;
  reward: Scorer;
  /** Of its parts, those that are constrained, by name. */
  constrained: readonly string[];
  heldOut: Scorer | null;
  /** Its name. */
  heldOutName: string | null;
  features: FeatureExtractor | null;
  lpips: PairDistance | null;
  progress: Progress;
}

export interface Measured {
  readonly evaluation: Judged;
  /** [N, 3, H, W], prompt by prompt. */
  readonly images: HostTensor;
  /** N prompts. */
  readonly prompts: readonly string[];
  readonly rewards: Float32Array;
  readonly heldOut: Float32Array | null;
  /** Of the images [N, D], if there is a feature space. */
  readonly features: HostTensor | null;
  /** How far each image is from the base model's of the same noise, if there is a feature space. */
  readonly drifts: readonly number[] | null;
}

export interface Evaluator {
  /** What checkpoints are chosen by. */
  readonly selection: EvaluationSet;
  readonly measures: Measures;
  /** How images are sampled. */
  readonly plan: Plan;
  /**
   * @param base what the base model made of the same set; null if that is what is measured
   * @param of the set, by default the selection, and the strength of the LoRA, by default 1
   */
  measure(step: number, base: Measured | null, of?: { set?: EvaluationSet; strength?: number }): Promise<Measured>;
  /** The selection's pictures [N, 3, H, W] at some places, or all of them; nothing is measured. @param why of no other call */
  sample(why: string, places?: readonly number[]): Promise<HostTensor>;
  /** Measures images [N, 3, H, W] of the selection's prompts that were made elsewhere, of other noise. */
  assess(images: HostTensor, step: number, base: Measured): Promise<Measured>;
}

export function openEvaluator(parts: EvaluatorParts): Evaluator {
  const { model, rollouts, reward, heldOut, features, lpips, progress, selection } = parts;
  async function assess(images: HostTensor, step: number, from: Measured | null, prompts: readonly string[], paired: boolean): Promise<Measured> {
    const { total: rewards, parts: shares } = await reward.scoreParts(images, prompts);
    const held = heldOut && (await heldOut.score(images, prompts));
    const rows = features && (await features.images(images));
    const diverse = rows && diversities(rows, prompts);
    const base = from ?? { images, features: rows };
    const drift = rows && base.features && paired ? drifts(base.features, rows) : null;
    const byLpips = lpips && paired ? (from ? await lpips.distances(base.images, images) : [0]) : null;
    const evaluation: Judged = {
      step,
      reward: meanOf(rewards),
      ...(shares.size > 0 && { rewardParts: Object.fromEntries([...shares].map(([name, r]) => [name, meanOf(r)])) }),
      ...(from && wins('winRate', from.rewards, rewards, prompts)),
      ...(parts.constrained.length > 0 && { constraintScores: Object.fromEntries(parts.constrained.map((name) => [name, [...shares.get(name)!]])) }),
      ...(held && {
        heldOutReward: meanOf(held), heldOutError: deviation(held) / Math.sqrt(held.length), heldOutScores: [...held],
      }),
      ...(held && from?.heldOut && wins('heldOutWinRate', from.heldOut, held, prompts)),
      ...(diverse && { diversity: meanOf(diverse), diversities: diverse }),
      ...(drift && { drift: meanOf(drift) }),
      ...(byLpips && { driftLpips: meanOf(byLpips) }),
      ...(rows && base.features && distances(rows, base.features)),
    };
    return { evaluation, images, prompts, rewards, heldOut: held, features: rows, drifts: drift };
  }
  return {
    selection,
    measures: { heldOut: parts.heldOutName, features: features !== null, constrained: parts.constrained },
    plan: parts.plan,
    sample: (why, places) => measured(model, `pictures ${why}`, () => sampleSet(model, rollouts, selection, progress, places)),
    assess: (images, step, base) => assess(images, step, base, selection.prompts, false),
    async measure(step, base, { set = selection, strength = 1 } = {}) {
      const weights = base ? `step ${step} strength ${strength}` : 'base model';
      const images = await measured(model, `evaluation of ${weights} from item ${set.first}`, () => sampleSet(model, rollouts, set, progress));
      return assess(images, step, base, set.prompts, true);
    },
  };
}

function wins<N extends 'winRate' | 'heldOutWinRate'>(name: N, before: Float32Array, after: Float32Array, prompts: readonly string[]): Partial<Judged> {
  const { rate, low, high } = winRate(before, after, prompts);
  return { [name]: rate, [`${name}Low`]: low, [`${name}High`]: high };
}

/** Of two sets' features; the same set is at 0 from itself. */
function distances(rows: HostTensor, base: HostTensor): Partial<Judged> {
  const [count, width] = rows.shape as [number, number];
  const whole = count > width;
  if (rows === base) return { frechet: 0, ...(whole && { frechetInfinity: 0 }), kid: 0 };
  return {
    frechet: frechetDistance(gaussianStatistics(rows), gaussianStatistics(base)),
    ...(whole && { frechetInfinity: frechetInfinity(rows, base) }),
    kid: kernelDistance(rows, base, { paired: true }),
  };
}

/** The seed of the selection's first picture, as `attune sample` counts. */
export const firstSeed = ({ config, evaluator }: { config: RunConfig; evaluator: Evaluator }): number =>
  config.evaluation.seed + evaluator.selection.first;

/** One image per prompt, each from its own item's noise. */
async function sampleSet(
  model: PipelineSampling, rollouts: Rollouts, { prompts, first }: Pick<EvaluationSet, 'prompts' | 'first'>, progress: Progress,
  places: readonly number[] = [...prompts.keys()],
): Promise<HostTensor> {
  const parts: HostTensor[] = [];
  const together = model.microbatch * model.work.together;
  for (let start = 0; start < places.length; start += together) {
    const part = places.slice(start, start + together);
    const { x } = await rollouts.rollout(part.map((i) => prompts[i]!), 0, { items: part.map((i) => first + i) });
    parts.push(await model.decode(x.at(-1)!));
    progress.step(start + part.length, places.length, 'images sampled');
  }
  return joinRows(parts);
}
