/**
 * @file A round in cuts. A compiled graph holds `microbatch` items at once; this runs it over any number of items, so that
 * nobody else needs to know: what is per item is cut and gathered again, sums and means are those over all items.
 */
import { host, sizeOf } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import type { Tensor } from '../graph/tensor.js';
import { graphInputs } from '../graph/onnx/export.js';
import { takeRows } from '../rewards/rows.js';
import type { Feeds } from '../runtime/compile.js';
import { fixedSum } from './fixed-sum.js';
import { cutsOf } from './work.js';
import type { Work } from './work.js';

/** What is known of a graph that is to be compiled. */
export interface GraphFacts<O extends string = string> {
  /**
   * Outputs that are a sum or a mean over the items of the graph, as are gradients by what the items share. All others
   * have a row for each item.
   */
  readonly over?: ReadonlyMap<O, 'sum' | 'mean'>;
  /** How often an item goes forward through the network in it; classifier-free guidance counts twice. Default 0. */
  readonly calls?: number;
  /** Further inputs, made from the prompts of the items. */
  readonly feeds?: (prompts: readonly string[]) => Promise<Feeds>;
}

/** Runs a graph on exactly as many items as it holds. */
export type RunHeld<O extends string> = (feeds: Feeds, prompts: readonly string[]) => Promise<Record<O, HostTensor>>;

/**
 * The graph of `outputs` over any number of items: one for each prompt. Feeds that have a row for each item are cut; the
 * others are the same for all. Where items are not a multiple of what the graph holds, the last cut is filled up with
 * copies of its last item, which is only possible where no output is a sum or mean.
 */
export function inCuts<O extends string>(
  outputs: Readonly<Record<O, Tensor>>, held: RunHeld<O>, microbatch: number,
  { over = new Map(), feeds: prompted }: GraphFacts<O>, work: Work,
): RunHeld<O> {
  const inputs = graphInputs({ outputs });
  const names = Object.keys(outputs) as O[];
  const gathered = names.filter((name) => !over.has(name));
  for (const name of gathered) {
    if (outputs[name].shape[0] !== microbatch) throw new Error(`output ${name} ${outputs[name]} has no row for each of ${microbatch} items`);
  }

  return async (feeds, prompts) => {
    const call = work.call();
    const count = prompts.length;
    const run = async (own: Feeds, texts: readonly string[]): Promise<Record<O, HostTensor>> =>
      held(prompted ? { ...own, ...(await prompted(texts)) } : own, texts);
    if (count === microbatch) return run(feeds, prompts);
    if (over.size > 0 && count % microbatch !== 0) {
      throw new Error(`${count} items cannot be cut into microbatches of ${microbatch}`);
    }
    const cuts = cutsOf(count, microbatch, call);
    const rowsOf = (feed: HostTensor, name: string, from: number): HostTensor => {
      const cut = feed.shape[0] === count && inputs.get(name)?.shape[0] === microbatch;
      return cut ? takeRows(feed, from, microbatch) : feed;
    };
    const rows = new Map(gathered.map((name) => [name, new Float32Array(count * sizeOf(outputs[name].shape.slice(1)))]));
    const sums = new Map([...over.keys()].map((name) => [name, fixedSum(cuts.length)]));
    await work.executor(cuts, ({ from }) => {
      const own = Object.fromEntries(Object.entries(feeds).map(([name, feed]) => [name, rowsOf(feed, name, from)]));
      return run(own, Array.from({ length: microbatch }, (_, i) => prompts[Math.min(from + i, count - 1)]!));
    }, (cut, results) => {
      for (const [name, all] of rows) {
        const size = all.length / count;
        all.set((results[name].data as Float32Array).subarray(0, cut.count * size), cut.from * size);
      }
      for (const [name, sum] of sums) sum.add(cut.index, results[name]);
    });
    return Object.fromEntries(names.map((name): [string, HostTensor] => {
      const kind = over.get(name);
      if (!kind) return [name, host(rows.get(name)!, [count, ...outputs[name].shape.slice(1)])];
      const total = sums.get(name)!.total();
      if (kind === 'mean') for (let i = 0, x = total.data as Float32Array; i < x.length; i++) x[i]! /= cuts.length;
      return [name, total];
    })) as Record<O, HostTensor>;
  };
}
