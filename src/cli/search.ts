/** @file `attune search`: better samples of an unchanged model, by spending more on each prompt. */
import { basename, join } from 'node:path';
import { Command, Option } from 'commander';
import { writeAtomic } from '../formats/atomic.js';
import { writePng } from '../formats/image.js';
import { packageVersion } from '../formats/package-root.js';
import { checkWritable } from '../formats/writable.js';
import { bundledModel } from '../loading/bundled.js';
import { mapRewardPaths, openRewards, parseRewards } from '../rewards/registry.js';
import { applyLoras } from '../sampling/lora-apply.js';
import { parametersText } from '../sampling/parameters-text.js';
import { SEARCHES } from '../search/index.js';
import { UsageError } from './arguments.js';
import { loadLoras, loadModel } from './load-model.js';
import { generationParameters, madeBy, withoutFolders } from './made-by.js';
import { collect, wholeNumber } from './option-values.js';
import { inLine } from './output.js';
import { chosenPrompts, withPromptFlags, withSamplerFlags } from './sampling-options.js';
import { change, pairsOnSheet, writeSheet, writeTrace } from './search-output.js';
import type { Found, Pair } from './search-output.js';
import { chosenSearch, planSearch } from './search-plan.js';
import type { SearchFlags, SearchPlan } from './search-plan.js';
import { basePictures, findBest } from './search-run.js';
import type { Best } from './search-run.js';
import { downloadsTo } from '../runs/progress.js';
import { stopSignal } from './supervise.js';
import { terminalProgress } from './terminal.js';

function chosenRewards({ reward = [], model }: SearchFlags): readonly string[] {
  if (reward.length > 0) return reward;
  const bundled = bundledModel(model);
  if (bundled) return [bundled.searchReward];
  throw new UsageError('no reward to search with; give --reward NAME (attune list rewards)');
}

/** What decided the result, as `search.json` and pictures tell it. */
function settings(flags: SearchFlags, how: SearchPlan, rewards: readonly string[]) {
  const { search, options, sampler, steps, guidance, negativePrompt, width, height, seed } = how;
  return {
    attune: packageVersion, ...madeBy(flags), search: search.name, options, rewards,
    sampler, steps, guidance, negativePrompt, width, height, seed,
  };
}

/** Text for a picture. Only one that comes from fresh noise can be made again by other programs. */
function pictureText(
  about: ReturnType<typeof settings>, how: SearchPlan, prompt: string, { score, winner }: Best,
): Record<string, string> {
  const again = generationParameters(about, how, prompt, winner.seed, `attune ${packageVersion}`);
  return {
    ...(winner.noise === null && { parameters: parametersText(again) }),
    attune: JSON.stringify({ ...about, ...withoutFolders(about), rewards: about.rewards.map((r) => mapRewardPaths(r, basename)), prompt, score, winner }),
  };
}

async function run(flags: SearchFlags): Promise<void> {
  const progress = terminalProgress(flags.quiet === true);
  await checkWritable(flags.out, 'folder');
  const prompts = await chosenPrompts(flags);
  const rewards = chosenRewards(flags);
  const specs = parseRewards(rewards);
  chosenSearch(flags); // its mistakes need not wait for the model
  const loras = await loadLoras(flags.lora ?? [], progress);
  const model = await loadModel(flags.model, progress, flags);
  const how = planSearch(model, prompts, flags, progress, loras);
  const pipeline = await applyLoras(model, loras);
  progress.phase(`loading rewards ${rewards.join(' + ')}`);
  const reward = await openRewards(specs, { compile: how.compile, downloads: downloadsTo(progress, stopSignal), base: async () => model });
  const about = settings(flags, how, rewards);
  const pairs: Pair[] = [];
  const images: Found[] = [];
  const traces: Best['trace'][] = [];
  const room = pairsOnSheet(how.width, how.height);
  const began = performance.now();
  try {
    const base = await basePictures(pipeline, how, reward, progress);
    for await (const best of findBest(pipeline, how, reward, progress)) {
      const { item, score, winner, trace } = best;
      const [file, prompt] = [join(flags.out, `${String(item).padStart(5, '0')}.png`), prompts[item]!];
      await writePng(file, best.image, pictureText(about, how, prompt, best));
      const { denoiserCalls, rewardQueries } = trace.at(-1)!;
      const found = { file, prompt, score, baseScore: base[item]!.score, winner, denoiserCalls, rewardQueries };
      images.push(found);
      traces.push(trace);
      if (pairs.length < room) pairs.push({ found, base: base[item]!.image, best: best.image });
      if (!flags.json) process.stdout.write(`${inLine(file)}  ${change(found)}  ${JSON.stringify(prompt)}\n`);
    }
  } catch (error) {
    if (error !== stopSignal.reason || images.length === 0) throw error; // what is found is written
  } finally {
    await reward.release?.();
    if (images.length > 0) await finish();
  }

  /** The files about all pictures; those of an interrupted or failed search are about the prompts that are done. */
  async function finish(): Promise<void> {
    const trace = await writeTrace(flags.out, traces, prompts);
    const grid = await writeSheet(flags.out, pairs);
    const [shown, all] = [pairs.length, images.length];
    if (shown < all) progress.warn(`${grid} shows the first ${shown} of ${all} prompts`);
    const total = (of: 'denoiserCalls' | 'rewardQueries'): number => images.reduce((sum, found) => sum + found[of], 0);
    const result = {
      ...about, denoiserCalls: total('denoiserCalls'), rewardQueries: total('rewardQueries'),
      seconds: (performance.now() - began) / 1000, grid, trace, images,
    };
    await writeAtomic(join(flags.out, 'search.json'), `${JSON.stringify(result, null, 2)}\n`);
    process.stdout.write(flags.json ? `${JSON.stringify(result)}\n` : `${inLine(grid)}\n`);
  }
}

const EXAMPLES = `
Writes a picture for each prompt, grid.png (above: without a search, below: the best), trace.jsonl (every candidate with
its score and the noise that makes it again) and search.json. Prompt i depends on its text, on i and on --seed alone, but
for rounding (attune sample --help), which may decide between candidates that score alike.
Counted are network calls (two a step with guidance) and images scored. Files of the same name are replaced.

Examples:
  attune search --prompt "a red apple, 3d" --set search.n=32
  attune search --prompts animals --search zero-order --reward emoji-clip --reward style:0.05 --budget 800
  attune search --search paths --reward jpeg-compressibility --prompt "a tree"
`;

export function searchCommand(): Command {
  const command = withPromptFlags(new Command('search'))
    .description('Make the best images that a model can make for prompts and a reward, without training it.')
    .addOption(new Option('--search <name>', 'see attune list searches')
      .choices(SEARCHES.map(({ name }) => name)).default(SEARCHES[0]!.name))
    .option('--reward <spec>', 'NAME[:weight][?option=value]; repeat to sum several (bundled model: emoji-clip)', collect)
    .option('--workers <n>', 'batches that are computed at the same time, each by a thread that holds the model (CPU)', wholeNumber(1), 1)
    .option('--budget <n>', 'denoiser calls a prompt; as much search as fits (default: by settings)', wholeNumber(1))
    .option('--set <key=value>', 'a setting of the search, e.g. --set search.n=32 (repeatable)', collect);
  return withSamplerFlags(command, 'seed of everything', 'search')
    .addHelpText('after', EXAMPLES)
    .action(run);
}
