/** @file `attune reward check`: examines a reward on samples of a model or on pictures of a folder, and writes a page. */
import { readdir } from 'node:fs/promises';
import { join, parse } from 'node:path';
import { Command, Option } from 'commander';
import { checkReward } from '../../evaluation/reward-check/check.js';
import type { Picture } from '../../evaluation/reward-check/check.js';
import { findings, renderRewardCheck } from '../../evaluation/reward-check/page.js';
import { writeAtomic } from '../../formats/atomic.js';
import { ConfigError } from '../../formats/errors.js';
import { imageSize, readImage } from '../../formats/image.js';
import { packageVersion } from '../../formats/package-root.js';
import { isMissing } from '../../formats/whole-file.js';
import { checkWritable } from '../../formats/writable.js';
import { deferred } from '../../host/resources.js';
import { downloadsTo } from '../../runs/progress.js';
import { openRewards, parseReward } from '../../rewards/registry.js';
import type { Device } from '../../runtime/device.js';
import { defaultBatch } from '../../sampling/defaults.js';
import { sampleImages } from '../../sampling/sampler.js';
import { loadPrompts } from '../../training/prompts.js';
import { loadModel } from '../load-model.js';
import { wholeNumber } from '../option-values.js';
import { inLine } from '../output.js';
import { samplingSettings } from '../sampling-options.js';
import { stopSignal } from '../supervise.js';
import { terminalProgress } from '../terminal.js';

interface Flags {
  pictures?: string;
  prompt?: string;
  model: string;
  prompts: string;
  count: number;
  size: number;
  samplingSteps?: number;
  steps: number;
  out: string;
  device: Device;
  threads?: number;
  json?: boolean;
  quiet?: boolean;
}

/** Of one folder; they are held in memory. */
const MOST_PICTURES = 400;

type Progress = ReturnType<typeof terminalProgress>;

/** Pictures of a folder, cut to squares of one size. @throws ConfigError for none */
async function picturesOf(folder: string, flags: Flags, progress: Progress): Promise<Picture[]> {
  const names = await readdir(folder).catch((cause: unknown) => {
    throw isMissing(cause) ? new ConfigError(`there is no folder ${folder}`) : cause;
  });
  const files = names.filter((name) => /\.(png|jpe?g|webp)$/i.test(name)).toSorted();
  if (files.length < 2) throw new ConfigError(`${folder} holds ${files.length} pictures (.png, .jpg, .webp); two are the least`);
  if (files.length > MOST_PICTURES) progress.warn(`${folder} holds ${files.length} pictures; ${MOST_PICTURES} of them are looked at, evenly spread`);
  const count = Math.min(files.length, MOST_PICTURES);
  const chosen = Array.from({ length: count }, (_, i) => files[Math.floor((i * files.length) / count)]!);
  const first = imageSize(await readImage(join(folder, chosen[0]!)));
  const side = Math.min(flags.size, first.width, first.height);
  progress.phase(`reading ${count} pictures as ${side} x ${side}`);
  const pictures: Picture[] = [];
  for (const name of chosen) {
    stopSignal.throwIfAborted();
    pictures.push({
      label: name, prompt: flags.prompt ?? parse(name).name.replaceAll(/[-_]+/g, ' '),
      image: await readImage(join(folder, name), { size: { width: side, height: side } }),
    });
  }
  return pictures;
}

/** Samples of a model. */
async function samplesOf(flags: Flags, progress: Progress): Promise<Picture[]> {
  const prompts = flags.prompt === undefined ? (await loadPrompts(flags.prompts)).prompts : [flags.prompt];
  const each = Math.min(4, flags.count);
  const names = Math.max(1, Math.floor(flags.count / each));
  const asked = Array.from({ length: Math.min(names, prompts.length) }, (_, i) => prompts[Math.floor((i * prompts.length) / Math.min(names, prompts.length))]!);
  const all = asked.flatMap((prompt) => new Array<string>(each).fill(prompt));
  const pipeline = await loadModel(flags.model, progress);
  const settings = samplingSettings(pipeline, all, {
    model: flags.model, negative: '', seed: 0, out: flags.out, device: flags.device, samplingSteps: flags.samplingSteps, threads: flags.threads,
  }, progress, []);
  progress.phase(`sampling ${all.length} pictures of ${flags.model}`);
  const pictures: Picture[] = [];
  const job = {
    ...settings, prompts: all, seed: 0, batch: Math.min(all.length, defaultBatch(all.length, settings.height, settings.width)),
    onStep: (done: number, total: number) => progress.step(done, total, 'steps'),
  };
  for await (const batch of sampleImages(pipeline, job)) {
    for (const { image, prompt, seed } of batch) pictures.push({ label: `seed ${seed}`, prompt, image });
  }
  return pictures;
}

async function run(name: string, flags: Flags): Promise<void> {
  const progress = terminalProgress(flags.quiet === true);
  const spec = parseReward(name);
  await checkWritable(flags.out, 'file');
  const compile = { device: flags.device, signal: stopSignal, ...(flags.threads !== undefined && { threads: flags.threads }) };
  progress.phase(`loading reward ${name}`);
  const reward = await openRewards([spec], { compile, downloads: downloadsTo(progress, stopSignal), base: () => loadModel(flags.model, progress) });
  await using _ = deferred(() => reward.release?.());
  const pictures = flags.pictures === undefined ? await samplesOf(flags, progress) : await picturesOf(flags.pictures, flags, progress);
  const check = await checkReward(reward, pictures, { compile, steps: flags.steps, onPhase: (text) => progress.phase(text) });
  const [height, width] = pictures[0]!.image.shape.slice(1) as [number, number];
  const source = `${pictures.length} pictures of ${width} × ${height}${flags.pictures === undefined ? `, samples of ${flags.model}` : ` from ${flags.pictures}, by their file names${
    flags.prompt === undefined ? ' as prompts' : ''}`}.`;
  const facts = [['reward', name], ['pictures', source], ['attune', packageVersion], ['device', flags.device]] as const;
  await writeAtomic(flags.out, await renderRewardCheck(check, source, facts));
  const { pictures: _pictures, disturbed, hacked, ...rest } = check;
  const numbers = {
    ...rest, page: flags.out, disturbed: disturbed.map(({ example: _example, ...d }) => d),
    hacked: hacked.map(({ before: _before, after: _after, ...h }) => h),
  };
  process.stdout.write(flags.json ? `${JSON.stringify(numbers)}\n` : `${findings(check).join('\n')}\n${inLine(flags.out)}\n`);
}

const EXAMPLES = `
Examples:
  attune reward check emoji-clip
  attune reward check "onnx?file=scorer.onnx&pixels=imagenet" --pictures photos --prompt "a cat"
`;

export function checkCommand(): Command {
  return new Command('check')
    .description('Examine a reward: scale, what it minds, its gradient against finite differences, how easily it is hacked, best and worst pictures; as a page.')
    .argument('<reward>', 'NAME[?option=value]; see attune list rewards')
    .option('--pictures <dir>', 'a folder of pictures; samples of the model otherwise')
    .option('--prompt <text>', 'what the pictures are to show (default: the names of their files, or --prompts)')
    .option('--model <name>', 'makes the samples: bundled name, diffusers folder, single file or hub id', 'emoji')
    .option('--prompts <name>', 'list or file that the samples are made of', 'heldout')
    .option('--count <n>', 'samples', wholeNumber(2), 24)
    .option('--size <n>', 'largest side that the pictures of a folder are looked at in', wholeNumber(8), 512)
    .option('--sampling-steps <n>', 'sampler steps of a sample (default: 20)', wholeNumber(1))
    .option('--steps <n>', 'of the gradient ascent', wholeNumber(1), 16)
    .option('--out <file>', 'the page', 'reward-check.html')
    .addOption(new Option('--device <name>', 'where to compute').choices(['cpu', 'webgpu', 'cuda']).default('cpu'))
    .option('--threads <n>', 'threads of one operator (default: all cores)', wholeNumber(1))
    .option('--json', 'the numbers as JSON')
    .option('--quiet', 'no progress')
    .addHelpText('after', EXAMPLES)
    .action(run);
}
