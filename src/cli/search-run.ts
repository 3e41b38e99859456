/** @file The two computations of `attune search`: the base model's pictures, and the search. */
import { host } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import type { Pipeline } from '../models/pipeline.js';
import { measured } from '../methods/work.js';
import type { Reward } from '../rewards/reward.js';
import { openScorer } from '../rewards/scorer.js';
import { imageAt } from '../rewards/rows.js';
import { deferred, openResources } from '../host/resources.js';
import { defaultBatch } from '../sampling/defaults.js';
import { openSampling } from '../sampling/model.js';
import { sampleImages } from '../sampling/sampler.js';
import type { TraceEntry } from '../search/candidate.js';
import { openExplorer } from '../search/explorer.js';
import type { Progress } from '../runs/progress.js';
import type { SearchPlan } from './search-plan.js';
import { openSessionThreads } from '../workers/session-threads.js';

/** A picture and its score. */
export interface Picture {
  readonly image: HostTensor; // [3, H, W]
  readonly score: number;
}

/** What sampling without a search gives: the pictures of `attune sample` at the same seed. */
export async function basePictures(
  pipeline: Pipeline, plan: SearchPlan, reward: Reward, progress: Progress,
): Promise<Picture[]> {
  const { prompts, width, height, compile } = plan;
  progress.phase(`sampling ${prompts.length} image(s) without a search, to compare with`);
  const batch = defaultBatch(prompts.length, height, width);
  const scorer = openScorer(reward, { batch, compile });
  const pictures: Picture[] = [];
  const onStep = (done: number, total: number): void => progress.step(done, total, 'steps');
  await using _ = deferred(() => scorer.release());
  for await (const made of sampleImages(pipeline, { ...plan, batch, onStep })) {
    const size = 3 * height * width;
    const images = new Float32Array(made.length * size);
    made.forEach(({ image }, i) => images.set(image.data as Float32Array, i * size));
    const scores = await scorer.score(host(images, [made.length, 3, height, width]), made.map((m) => m.prompt));
    pictures.push(...made.map(({ image }, i) => ({ image, score: scores[i]! })));
  }
  return pictures;
}

/** What was found for one prompt. */
export interface Best extends Picture {
  readonly item: number;
  readonly winner: TraceEntry;
  readonly trace: readonly TraceEntry[];
}

/** Searches for the prompts, a group at a time. */
export async function* findBest(
  pipeline: Pipeline, plan: SearchPlan, reward: Reward, progress: Progress,
): AsyncGenerator<Best> {
  const { prompts, search, options, callsPerPrompt, group } = plan;
  progress.phase('compiling');
  await using resources = openResources();
  const pool = plan.workers > 1 ? resources.use(openSessionThreads(plan.workers)) : undefined;
  const model = resources.use(await openSampling(pipeline, { ...plan, microbatch: plan.batch, reward, pool }));
  const total = prompts.length * callsPerPrompt;
  let calls = 0;
  const onCalls = (made: number): void => progress.step(calls += made, total, 'denoiser calls');
  const most = `at most ${callsPerPrompt} denoiser calls each`;
  progress.phase(`searching with ${search.name}: ${prompts.length} prompt(s), ${most}`);
  const explorer = resources.use(await openExplorer(model, { onCalls }));
  for (let first = 0; first < prompts.length; first += group) {
    const part = prompts.slice(first, first + group);
    const items = part.map((_, i) => first + i);
    const { samples, scores, winners, traces } = await measured(
      model, `${search.name} from item ${first}`, () => search.run(explorer, options, { prompts: part, items }));
    const images = await model.decode(samples);
    for (const [i, item] of items.entries()) {
      yield { item, image: imageAt(images, i), score: scores[i]!, winner: winners[i]!, trace: traces[i]! };
    }
    calls = (first + part.length) * callsPerPrompt; // it may have taken fewer
  }
}
