/** @file `attune sample`: prompts to PNG files, alone and on one sheet. */
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { imageGrid } from '../formats/image-grid.js';
import { writePng } from '../formats/image.js';
import { packageVersion } from '../formats/package-root.js';
import type { HostTensor } from '../graph/dtype.js';
import { latentShape } from '../models/pipeline.js';
import type { Pipeline } from '../models/pipeline.js';
import type { Device } from '../runtime/device.js';
import { cutPrompts } from '../sampling/conditions.js';
import { defaultBatch, defaultGuidance, defaultSize, defaultSteps } from '../sampling/defaults.js';
import { applyLoras } from '../sampling/lora-apply.js';
import { parametersText } from '../sampling/parameters-text.js';
import { sampleImages } from '../sampling/sampler.js';
import type { SampleJob } from '../sampling/sampler.js';
import { samplers } from '../schedulers/index.js';
import type { SamplerName } from '../schedulers/index.js';
import { readSchedulerConfig } from '../schedulers/scheduler-config.js';
import type { Progress } from '../training/progress.js';
import { loadPrompts } from '../training/prompts.js';
import { parseNumber, UsageError } from './arguments.js';
import { loadLoras, loadModel } from './load-model.js';
import { collect, collectLora, likeOption, wholeNumber } from './option-values.js';
import type { LoraArgument } from './option-values.js';
import { parseSize, stem } from './sampling-options.js';
import { stopRequested } from './supervise.js';
import { terminalProgress } from './terminal.js';

interface Flags {
  model: string;
  like?: string;
  prompt?: string[];
  prompts?: string;
  negative: string;
  count: number;
  seed: number;
  guidance?: number;
  sampler?: SamplerName;
  samplingSteps?: number;
  size?: [width: number, height: number];
  lora?: LoraArgument[];
  out: string;
  batch?: number;
  device: Device;
  threads?: number;
  json?: boolean;
  quiet?: boolean;
}

/** What was made, as `--json` prints it. */
interface Result {
  model: string;
  loras: readonly LoraArgument[];
  sampler: SamplerName;
  steps: number;
  guidance: number;
  negativePrompt: string;
  width: number;
  height: number;
  /** Without loading. */
  seconds: number;
  grid: string;
  images: { file: string; prompt: string; seed: number }[];
}

/** Thrown between steps when the user asked to stop. */
class Stopped extends Error {}

/** The error of a value that is out of range is the user's to mend. */
function checked<T>(compute: () => T): T {
  try {
    return compute();
  } catch (error) {
    throw error instanceof RangeError ? new UsageError(error.message) : error;
  }
}

async function chosenPrompts({ prompt = [], prompts, count }: Flags): Promise<string[]> {
  const list = prompts === undefined ? prompt : (await loadPrompts(prompts)).prompts;
  if (list.length === 0) {
    throw new UsageError('no prompt; give --prompt TEXT ("" for none) or --prompts LIST (attune list prompts)');
  }
  return list.flatMap((text) => Array.from({ length: count }, () => text));
}

/** Everything that is needed to make the images; mistakes are found here, before the work begins. */
function planJob(pipeline: Pipeline, prompts: readonly string[], flags: Flags, progress: Progress) {
  const scheduler = readSchedulerConfig(pipeline.scheduler, `${pipeline.source}: scheduler_config.json`);
  const { sampler = scheduler.sampler, guidance = defaultGuidance(pipeline) } = flags;
  const { samplingSteps: steps = defaultSteps(sampler), negative: negativePrompt, threads } = flags;
  const side = defaultSize(pipeline);
  const [width, height] = flags.size ?? [side, side];
  const batch = Math.min(flags.batch ?? defaultBatch(prompts.length, height, width), prompts.length);
  checked(() => latentShape(pipeline, batch, height, width));
  const highest = Number.MAX_SAFE_INTEGER - (prompts.length - 1);
  if (flags.seed > highest) {
    throw new UsageError(`--seed ${flags.seed} leaves no seeds for ${prompts.length} images; take at most ${highest}`);
  }
  for (const [prompt, cut] of checked(() => cutPrompts(pipeline, [...prompts, negativePrompt]))) {
    const room = pipeline.textEncoders[0]!.tokenizer.maxLength - 2;
    progress.warn(`"${prompt}" is longer than the model's ${room} tokens; this is cut off: "${cut}"`);
  }
  const job: SampleJob = {
    prompts, seed: flags.seed, negativePrompt, guidance, width, height, batch,
    plan: samplers[sampler].plan(scheduler.schedule, steps, scheduler.options),
    compile: { device: flags.device, ...(threads !== undefined && { threads }) },
    onStep: (done, total) => {
      progress.step(done, total, 'steps');
      if (stopRequested()) throw new Stopped();
    },
  };
  return { job, sampler, steps };
}

async function run(flags: Flags): Promise<void> {
  const progress = terminalProgress(flags.quiet === true);
  const prompts = await chosenPrompts(flags);
  const given = flags.lora ?? [];
  const loras = await loadLoras(given, progress);
  let pipeline = await loadModel(flags.model, progress, flags.like);
  const { job, sampler, steps } = planJob(pipeline, prompts, flags, progress);
  pipeline = await applyLoras(pipeline, loras);

  const { negativePrompt, guidance, width, height } = job;
  const names = given.map(({ path, strength }) => ({ name: stem(path), strength }));
  const about = (prompt: string, seed: number): Record<string, string> => ({
    parameters: parametersText({
      prompt, seed, negativePrompt, steps, sampler, guidance, width, height,
      model: stem(flags.model), loras: names, version: `attune ${packageVersion}`,
    }),
  });
  const size = `${width} x ${height}`;
  progress.phase(`sampling ${prompts.length} image(s) of ${size}: ${sampler}, ${steps} steps, guidance ${guidance}`);
  const began = performance.now();
  const images: Result['images'] = [];
  const sheet: HostTensor[] = [];
  try {
    for await (const made of sampleImages(pipeline, job)) {
      for (const { index, seed, prompt, image } of made) {
        const file = join(flags.out, `${String(index).padStart(5, '0')}.png`);
        await writePng(file, image, about(prompt, seed));
        images.push({ file, prompt, seed });
        if (sheet.length < SHEET_PIXELS / Math.max(width * height, CELL * CELL)) sheet.push(image);
        if (!flags.json) process.stdout.write(`${file}\n`);
      }
    }
  } catch (error) {
    if (!(error instanceof Stopped)) throw error;
  }
  if (images.length === 0) return;
  const seconds = (performance.now() - began) / 1000;
  const grid = join(flags.out, 'grid.png');
  if (sheet.length < images.length) progress.warn(`${grid} shows the first ${sheet.length} of ${images.length} images`);
  await writePng(grid, await contactSheet(sheet, prompts, flags.count), about(images[0]!.prompt, images[0]!.seed));
  const result: Result = {
    model: flags.model, loras: given, sampler, steps, guidance, negativePrompt, width, height, seconds, grid, images,
  };
  process.stdout.write(flags.json ? `${JSON.stringify(result)}\n` : `${grid}\n`);
}

/** Small pictures are enlarged up to about this. */
const CELL = 128;
/** Images of one prompt in a row, if there are several prompts. */
const ROW = 16;

/** Sheets are held in memory, so they have an end. */
const SHEET_PIXELS = 2 ** 24;

/** One prompt: a square. Several: a row each if they fit, with the prompts below. */
async function contactSheet(
  images: readonly HostTensor[], prompts: readonly string[], count: number,
): Promise<HostTensor> {
  const several = prompts.length > count;
  return imageGrid(images, {
    minWidth: CELL,
    ...(several && { labels: prompts.slice(0, images.length) }),
    ...(several && count > 1 && count <= ROW && { columns: count }),
  });
}

const EXAMPLES = `
Image i depends on its prompt and on seed + i alone: --seed 7 --count 1 makes image 7 of --seed 0 again.
Files of the same name in the output folder are replaced. Each PNG tells how it was made, as A1111 writes it.

Examples:
  attune sample --prompt "a red apple, 3d" --count 16
  attune sample --prompts animals --lora runs/first/lora/kohya.safetensors:0.8 --out animals
  attune sample --model stable-diffusion-v1-5/stable-diffusion-v1-5 --prompt "a lighthouse at dusk" \\
    --negative "blurry" --guidance 7.5 --sampler dpm++2m --sampling-steps 25 --size 512x768
`;

export function sampleCommand(): Command {
  return new Command('sample')
    .description('Make images of prompts: a PNG each, and grid.png with all of them.')
    .option('--model <name>', 'bundled name, diffusers folder, .safetensors checkpoint or hub id', 'emoji')
    .addOption(likeOption())
    .option('--prompt <text>', 'what to make; repeatable; "" for no prompt', collect)
    .addOption(new Option('--prompts <name>', 'a bundled list (attune list prompts), or a .txt, .csv or .jsonl file')
      .conflicts('prompt'))
    .option('--negative <text>', 'what to stay away from', '')
    .option('--count <n>', 'images of each prompt', wholeNumber(1), 1)
    .option('--seed <n>', 'seed of the first image; each next one has one more', wholeNumber(0), 0)
    .option('--guidance <x>', 'strength of the prompt; 1 is none (default: the model family\'s)', parseNumber)
    .addOption(new Option('--sampler <name>', 'see attune list samplers (default: the model\'s own)')
      .choices(Object.keys(samplers)))
    .option('--sampling-steps <n>', 'network calls an image (default: 20; of lcm 4)', wholeNumber(1))
    .option('--size <size>', 'side, or width x height, in pixels (default: the model\'s own)', parseSize)
    .option('--lora <file[:scale]>', 'LoRA of any dialect; repeatable; scale 1 by default; also negative, above 1',
      collectLora)
    .option('--out <dir>', 'folder to write to', 'samples')
    .option('--batch <n>', 'images made together (default: by their size)', wholeNumber(1))
    .addOption(new Option('--device <name>', 'where to compute').choices(['cpu', 'webgpu', 'cuda']).default('cpu'))
    .option('--threads <n>', 'threads of one operator (default: all cores)', wholeNumber(1))
    .option('--json', 'the result as JSON')
    .option('--quiet', 'no progress')
    .addHelpText('after', EXAMPLES)
    .action(run);
}
