/** @file What a training is at one moment, as a value; and how a checkpoint holds it. */
import { z } from 'zod';
import type { Judged } from '../evaluation/hacking-guard.js';
import type { HostTensor } from '../graph/dtype.js';
import type { Counts } from '../methods/counted.js';
import type { UpdateRule } from '../methods/method.js';
import { objectiveStateSchema } from '../rewards/objective.js';
import type { Objective } from '../rewards/objective.js';
import { peakBytes } from '../machine/memory.js';
import { firstLossScale, lossScaleSchema } from './loss-scale.js';
import type { LossScale } from './loss-scale.js';
import { initAdamW } from './adamw.js';
import type { AdamWState } from './adamw.js';
import type { RunState } from './checkpoint.js';
import type { RunConfig } from './config.js';
import { copyOf, values } from './parameters.js';
import type { PipelineTask } from './pipeline-task.js';

/** What is trained, how, and by which method. */
export interface Trained {
  config: RunConfig;
  task: PipelineTask;
  /** What the method has spent. */
  counts: Counts;
  rule: UpdateRule;
  objective: Objective;
}

const storedValues = z.object({
  evaluations: z.array(z.custom<Judged>()),
  lossScale: lossScaleSchema.nullable().default(null),
  seconds: z.number().default(0),
  peakBytes: z.number().default(0),
  objective: objectiveStateSchema.optional(),
});

export interface TrainState {
  step: number;
  round: number;
  seconds: number;
  peakBytes: number;
  optimizer: AdamWState;
  /** For the method's own parameters, if it has some. */
  ownOptimizer: AdamWState | null;
  /** Null where nothing is computed in float16. */
  lossScale: LossScale | null;
  evaluations: Judged[];
  best: Map<string, HostTensor>;
}

/** The loss scale to begin or go on with, told to the task. */
function startingScale({ task }: Trained, known: LossScale | null): LossScale | null {
  if (!task.setLossScale) return null;
  const scale = known ?? firstLossScale();
  task.setLossScale(scale.scale);
  return scale;
}

export function freshState(parts: Trained): TrainState {
  const { task, rule } = parts;
  return {
    step: 0,
    round: 0,
    seconds: 0,
    peakBytes: 0,
    optimizer: initAdamW(task.parameters),
    ownOptimizer: rule.own ? initAdamW(rule.own.parameters) : null,
    lossScale: startingScale(parts, null),
    evaluations: [],
    best: copyOf(task.parameters),
  };
}

/** What a copy of the trained values is called in a checkpoint. The average has the name that it had before there were others. */
const copySet = (name: string): string => (name === 'ema' ? 'average' : `copy ${name}`);

export function stored({ task, counts, rule, objective }: Trained, state: TrainState): RunState {
  const { optimizer, ownOptimizer, best } = state;
  const asked = objective.state();
  return {
    step: state.step,
    round: state.round,
    ...counts,
    tensors: {
      parameters: task.parameters, m: optimizer.m, v: optimizer.v, best,
      ...(ownOptimizer && { own: rule.own!.parameters, ownM: ownOptimizer.m, ownV: ownOptimizer.v }),
      ...(rule.memory && { memory: rule.memory }),
      ...Object.fromEntries([...task.copies].map(([name, set]) => [copySet(name), set])),
    },
    values: {
      evaluations: state.evaluations,
      ...(state.lossScale && { lossScale: state.lossScale }),
      seconds: state.seconds, peakBytes: peakOf(state),
      ...(asked && { objective: asked }),
    },
  };
}

/** A way back to the end of the last round, for one that is given up. */
export interface RoundStart {
  /** Must be called before anything that is trained changes: from here on the numbers are kept beside. */
  keep(): void;
  /** The state at the start, or null if its numbers were changed and not kept. */
  state(): RunState | null;
}

/** Sets whose tensors updates change in place; of the others only which tensors they hold changes. */
const CHANGING = new Set(['parameters', 'm', 'v', 'own', 'ownM', 'ownV']);

/** Keeps nothing of full fine-tuning: that would be three more copies of the model in memory. */
export function roundStart(parts: Trained, state: TrainState): RoundStart {
  const now = stored(parts, state);
  const tensors = Object.fromEntries(Object.entries(now.tensors).map(([name, set]) => [name, new Map(set)]));
  let start: RunState | null = { ...now, tensors, values: { ...now.values, evaluations: [...state.evaluations] } };
  let kept = false;
  return {
    keep() {
      if (kept || !start) return;
      kept = true;
      const copies = Object.entries(tensors).map(([name, set]) => [name, CHANGING.has(name) ? copyOf(set) : set] as const);
      start = parts.task.adapter ? { ...start, tensors: Object.fromEntries(copies) } : null;
    },
    state: () => start,
  };
}

export const peakOf = (state: TrainState): number => Math.max(state.peakBytes, peakBytes());

/**
 * Checks that a checkpoint is one of this training: every number that updates change is there, in its shape, and finite.
 *
 * @throws Error naming the first tensor that is not
 */
export function checkFits({ task, rule, objective }: Trained, { tensors, values: plain }: RunState): void {
  const kept = storedValues.safeParse(plain);
  if (!kept.success) throw new Error(`its values are not those of a training (${kept.error.issues[0]!.path.join('.')})`);
  if (objective.needsBase && !kept.data.objective) throw new Error('what the rewards are on the base model is missing');
  const check = (set: string, like: ReadonlyMap<string, HostTensor>): void => {
    for (const [name, { shape }] of like) {
      const t = tensors[set]?.get(name);
      if (!t) throw new Error(`${set} ${name} is missing`);
      if (t.dtype !== 'float32' || t.shape.join() !== shape.join()) {
        throw new Error(`${set} ${name} is ${t.dtype} [${t.shape.join(', ')}], not float32 [${shape.join(', ')}]`);
      }
      if (!values(t).every(Number.isFinite)) throw new Error(`${set} ${name} holds NaN or infinity`);
    }
  };
  for (const set of ['parameters', 'm', 'v', 'best']) check(set, task.parameters);
  for (const name of task.copies.keys()) check(copySet(name), task.parameters);
  const own = rule.own?.parameters ?? new Map<string, HostTensor>();
  for (const set of ['own', 'ownM', 'ownV']) check(set, own);
}

/** Takes up a checkpoint: sets what the task and the method hold, and gives the rest. */
export function restored(parts: Trained, run: RunState): TrainState {
  const { task, counts, rule, objective } = parts;
  const kept = storedValues.parse(run.values);
  const set = (name: string): Map<string, HostTensor> => new Map(run.tensors[name] ?? []);
  for (const [name, t] of set('parameters')) task.parameters.set(name, t);
  for (const [name, t] of set('own')) values(rule.own!.parameters.get(name)!).set(values(t));
  for (const [name, copy] of task.copies) for (const [key, t] of set(copySet(name))) copy.set(key, t);
  for (const [name, t] of set('memory')) rule.memory!.set(name, t);
  Object.assign(counts, { rewardQueries: run.rewardQueries, denoiserCalls: run.denoiserCalls });
  if (kept.objective) objective.restore(kept.objective);
  return {
    step: run.step,
    round: run.round,
    seconds: kept.seconds,
    peakBytes: kept.peakBytes,
    optimizer: { step: run.step, m: set('m'), v: set('v') },
    ownOptimizer: rule.own ? { step: run.step, m: set('ownM'), v: set('ownV') } : null,
    lossScale: startingScale(parts, kept.lossScale),
    evaluations: kept.evaluations,
    best: set('best'),
  };
}
