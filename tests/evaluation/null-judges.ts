/**
 * @file Runs in which nothing goes wrong, as the guard sees them: the reward rises, and what the judge says of each image,
 * and how alike the images of a prompt are, changes by chance alone.
 */
import { guardVerdict } from '../../src/evaluation/hacking-guard.js';
import type { GuardOptions, Judged } from '../../src/evaluation/hacking-guard.js';
import { normal, uniform } from '../../src/random/random.js';

/** What one image's score (or prompt's diversity) is at the evaluations of a run: its expectation is the same at all of them. */
type Path = (key: { seed: number; item: number }, looks: number) => number[];

const noise = (stream: string, { seed, item }: { seed: number; item: number }, count: number): number[] => [...normal({ seed, stream, step: 0 }, item, count)];
const cumulated = (steps: readonly number[]): number[] => steps.map((_, k) => steps.slice(0, k + 1).reduce((a, b) => a + b, 0));

export const NULL_JUDGES: Readonly<Record<string, Path>> = {
  /** Every evaluation scatters by itself. */
  'anew each time': (key, looks) => noise('fresh', key, looks),
  /** Images change little by little, each its own way: the scores walk. */
  'a walk': (key, looks) => cumulated(noise('walk', key, looks)),
  /** They leave the base model's at once and then hardly move. */
  'one step': (key, looks) => {
    const [first, ...later] = noise('step', key, looks + 1);
    return later.map((z, k) => (k === 0 ? 0 : first! + 0.2 * z));
  },
  /** A few images fall far, the others rise a little: the steps of the walk are those of an exponential distribution. */
  'a skewed walk': (key, looks) => cumulated([...uniform({ seed: key.seed, stream: 'skewed', step: 0 }, key.item, looks)].map((u) => Math.log1p(-u) + 1)),
  /** A judge that says 0 or 1, for 1 in all evaluations likewise at 0.8, and mostly what it said before. */
  'yes or no': (key, looks) => {
    const u = uniform({ seed: key.seed, stream: 'words', step: 0 }, key.item, 2 * looks);
    const said: number[] = [];
    for (let k = 0; k < looks; k++) said.push(k > 0 && u[2 * k]! < 0.7 ? said[k - 1]! : Number(u[2 * k + 1]! < 0.8));
    return said;
  },
};

const meanOf = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

/** A run's evaluations, the base model's first. @param diverse whether it has diversities: of 8 prompts, exactly at half of the base model's in the mean */
export function nullRun(judge: string, seed: number, looks: number, { images = 32, diverse = false } = {}): Judged[] {
  const scores = Array.from({ length: images }, (_, item) => NULL_JUDGES[judge]!({ seed, item }, looks + 1));
  const prompts = diverse ? Array.from({ length: 8 }, (_, item) => NULL_JUDGES[judge]!({ seed, item: images + item }, looks + 1)) : [];
  const half = judge === 'yes or no' ? 0.8 : 0;
  return Array.from({ length: looks + 1 }, (_, step) => {
    const heldOutScores = scores.map((s) => s[step]!);
    const diversities = prompts.map((p) => (step === 0 ? 20 : 10 + p[step]! - half));
    return {
      step, reward: step, heldOutReward: meanOf(heldOutScores), heldOutError: 1, heldOutScores,
      ...(diverse && { diversity: meanOf(diversities), diversities }),
    };
  });
}

/** The share of `runs` that have been stopped by each of their evaluations. */
export function falseStops(judgeName: string, runs: number, looks: number, of: { images?: number; diverse?: boolean }, options: GuardOptions): number[] {
  const counts = new Array<number>(looks + 1).fill(0);
  for (let seed = 0; seed < runs; seed++) {
    const history = nullRun(judgeName, seed, looks, of);
    const at = history.findIndex((_, i) => guardVerdict(history.slice(0, i + 1), options).stop !== null);
    if (at >= 0) for (let i = at; i <= looks; i++) counts[i]! += 1;
  }
  return counts.map((n) => n / runs);
}
