/** @file The last measurements of a run: the saved weights at several strengths, and where nothing chose them. */
import { compared } from '../evaluation/compared.js';
import type { Compared, SetFacts } from '../evaluation/compared.js';
import { host, toFloat32 } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import type { EvaluationSet, Measured } from './evaluate.js';
import { copyOf, loadParameters } from './parameters.js';
import type { Session } from './session.js';

/** What `work` comes to while the task is the base model again. */
export async function atBase<T>({ task, pipeline }: Pick<Session, 'task' | 'pipeline'>, work: () => Promise<T>): Promise<T> {
  const own = task.adapter ? null : copyOf(task.parameters);
  const base = (name: string): HostTensor => {
    const t = pipeline.weights.get(name.slice('tuned/'.length))!;
    return host(toFloat32(t), t.shape);
  };
  if (own) loadParameters(task.parameters, new Map([...own.keys()].map((name) => [name, base(name)])));
  else task.setStrength(0);
  try {
    return await work();
  } finally {
    if (own) loadParameters(task.parameters, own);
    else task.setStrength(1);
  }
}

export interface Swept {
  readonly strength: number;
  readonly measured: Measured;
}

export interface Sweep {
  readonly base: Measured;
  readonly tuned: Measured;
  /** With a LoRA base and tuned model at strengths 0 and 1 too; full fine-tuning has no strength but 1. */
  readonly swept: readonly Swept[];
}

/**
 * Measures the base model and the saved weights, a LoRA at each strength of the configuration, on the prompts and noise
 * that checkpoints are chosen by.
 *
 * @param step updates that the saved weights have had
 * @param before the base model's measurement, if there is one from this process
 */
export async function sweepStrengths(session: Session, step: number, before: Measured | null): Promise<Sweep> {
  const { task, config, evaluator } = session;
  const base = before ?? await atBase(session, () => evaluator.measure(0, null));
  const tuned = await evaluator.measure(step, base);
  const swept: Swept[] = [{ strength: 1, measured: tuned }];
  if (task.adapter) {
    swept.push({ strength: 0, measured: base });
    for (const strength of new Set(config.evaluation.sweep.filter((s) => s !== 0 && s !== 1))) {
      task.setStrength(strength);
      swept.push({ strength, measured: await evaluator.measure(step, base, { strength }) });
    }
    task.setStrength(1);
  }
  return { base, tuned, swept: swept.toSorted((a, b) => a.strength - b.strength) };
}

export function setFacts({ config }: Session, { list, untrained, prompts, first }: EvaluationSet): SetFacts {
  return { list, prompts: new Set(prompts).size, images: prompts.length, seed: config.evaluation.seed + first, untrained };
}

/** Measures base model and saved weights where neither prompts nor noise chose them, the headline's first. */
export async function measureReported(session: Session, step: number): Promise<Compared[]> {
  const { evaluator, reported } = session;
  const all: Compared[] = [];
  for (const set of reported) {
    const base = await atBase(session, () => evaluator.measure(0, null, { set }));
    all.push(compared(setFacts(session, set), base, await evaluator.measure(step, base, { set })));
  }
  return all;
}
