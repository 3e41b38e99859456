/**
 * @file What pieces of a run's work are called, and who does them. A round is prompts; from it come updates; for each, graphs
 * are run in an order that does not change; each of these runs is cut. With the run's settings and seed, the weights as they
 * are at the update and what the method remembers, (round, update, call, index) is all that it takes to make a cut again,
 * anywhere. What is measured belongs to no update and has a name of its own: with the weights that it tells,
 * (name, call, index) is all.
 */
import { deferred } from '../host/resources.js';
import type { UpdateRule, Update } from './method.js';

/** What updates are made from: prompts, and noise by the round's number. */
export interface Round {
  /** Rounds are counted through the whole run. */
  readonly round: number;
  /** One for each item. */
  readonly prompts: readonly string[];
}

/** The identity of an update: its round, and its own number among those made from that round. */
export interface UpdateId {
  readonly round: number;
  readonly update: number;
}

/** The identity of an evaluation or a search: no other work of the run has its name, wherever it is done. */
export interface MeasurementId {
  readonly measurement: string;
}

export type WorkId = UpdateId | MeasurementId;

/** The identity of a graph's run over the items of a piece of work: `call` counts these runs. */
export type CallId = WorkId & { readonly call: number };

/** Items `from` … `from + count − 1` of those that are worked on together. */
export interface Cut {
  /** Null for what nobody else is to compute. */
  readonly of: CallId | null;
  readonly index: number;
  readonly from: number;
  readonly count: number;
}

/** A cut's name: no other cut of the run has it. @throws Error for one that belongs to no named work */
export function cutName({ of, index }: Cut): string {
  if (!of) throw new Error(`cut ${index} belongs to no update or measurement`);
  const work = 'measurement' in of ? of.measurement : `round ${of.round} update ${of.update}`;
  return `${work} call ${of.call} cut ${index}`;
}

export function cutsOf(count: number, microbatch: number, of: CallId | null = null): Cut[] {
  return Array.from({ length: Math.ceil(count / microbatch) }, (_, index) => {
    const from = index * microbatch;
    return { of, index, from, count: Math.min(microbatch, count - from) };
  });
}

/**
 * Sees to it that `work` is done for every cut, whoever does it and when, and hands each result to `take`. Nothing else
 * may depend on the order.
 */
export type Executor = <T>(cuts: readonly Cut[], work: (cut: Cut) => Promise<T>, take: (cut: Cut, result: T) => void) => Promise<void>;

/** Here, one after the other. */
const inOrder: Executor = async (cuts, work, take) => {
  for (const cut of cuts) take(cut, await work(cut));
};

/** Up to `count` at a time, the first ones first. After a failure no further one is begun, and those under way are waited for. */
export function atOnce(count: number): Executor {
  return async (cuts, work, take) => {
    let next = 0;
    let failed = false;
    const one = async (): Promise<void> => {
      while (next < cuts.length && !failed) {
        const cut = cuts[next++]!;
        try {
          take(cut, await work(cut));
        } catch (error) {
          failed = true;
          throw error;
        }
      }
    };
    const ends = await Promise.allSettled(Array.from({ length: count }, one));
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
  };
}

/** Who computes, and what is being computed. */
export interface Work {
  readonly executor: Executor;
  /** Cuts that are worth handing to it in one go, where little else must be held for more of them. */
  readonly together: number;
  /** From now on it is this that is computed; null: nothing that has a name. */
  begin(work: WorkId | null): void;
  /** The identity of the next run of a graph. Must be asked for when the run is asked for, before anything is waited for. */
  call(): CallId | null;
}

/**
 * @param executor who computes the cuts; default: this process, in order
 * @param together cuts that it computes at the same time
 */
export function openWork(executor: Executor = inOrder, together = 1): Work {
  let now: WorkId | null = null;
  let calls = 0;
  return {
    executor,
    together,
    begin(work) {
      now = work;
      calls = 0;
    },
    call: () => now && { ...now, call: calls++ },
  };
}

/** Does what measures under a name that tells it from all else of the run: what, of which weights, on which items. */
export async function measured<T>({ work }: { readonly work: Work }, measurement: string, measure: () => Promise<T>): Promise<T> {
  work.begin({ measurement });
  try {
    return await measure();
  } finally {
    work.begin(null);
  }
}

/** The updates of a round with their identities. What the caller does between two of them belongs to neither. */
export async function* updatesOf({ work }: { readonly work: Work }, rule: UpdateRule, { round, prompts }: Round): AsyncGenerator<Update & UpdateId> {
  const updates = rule.round(prompts, round);
  await using _ = deferred(async () => {
    work.begin(null);
    await updates.return(undefined);
  });
  for (let update = 0; ; update++) {
    work.begin({ round, update });
    const { done, value } = await updates.next();
    work.begin(null);
    if (done) return;
    yield { ...value, round, update };
  }
}
