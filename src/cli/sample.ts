/** @file `attune sample`: prompts to PNG files, alone and on one sheet. */
import { join } from 'node:path';
import { Command } from 'commander';
import { imageGrid } from '../formats/image-grid.js';
import { writePng } from '../formats/image.js';
import { packageVersion } from '../formats/package-root.js';
import { checkWritable } from '../formats/writable.js';
import type { HostTensor } from '../graph/dtype.js';
import type { Pipeline } from '../models/pipeline.js';
import { defaultBatch } from '../sampling/defaults.js';
import { applyLoras } from '../sampling/lora-apply.js';
import type { LoraUse } from '../sampling/lora-apply.js';
import { parametersText } from '../sampling/parameters-text.js';
import { sampleImages } from '../sampling/sampler.js';
import type { SampleJob } from '../sampling/sampler.js';
import type { SamplerName } from '../schedulers/index.js';
import type { Progress } from '../runs/progress.js';
import { UsageError } from './arguments.js';
import { loadLoras, loadModel } from './load-model.js';
import { generationParameters, madeBy, withoutFolders } from './made-by.js';
import type { MadeBy } from './made-by.js';
import { wholeNumber } from './option-values.js';
import { inLine } from './output.js';
import { chosenPrompts, samplingSettings, withPromptFlags, withSamplerFlags } from './sampling-options.js';
import type { SamplingFlags, SamplingSettings } from './sampling-options.js';
import { stopSignal } from './supervise.js';
import { terminalProgress } from './terminal.js';

interface Flags extends SamplingFlags {
  count: number;
}

/** What was made, as `--json` prints it. */
interface Result extends MadeBy {
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

/** Everything that is needed to make the images; mistakes are found here, before the work begins. */
function planJob(pipeline: Pipeline, prompts: readonly string[], flags: Flags, progress: Progress, loras: readonly LoraUse[]) {
  const settings = samplingSettings(pipeline, prompts, flags, progress, loras);
  const { width, height, sampler, steps } = settings;
  const highest = Number.MAX_SAFE_INTEGER - (prompts.length - 1);
  if (flags.seed > highest) {
    throw new UsageError(`--seed ${flags.seed} leaves no seeds for ${prompts.length} images; take at most ${highest}`);
  }
  const job: SampleJob & SamplingSettings = {
    ...settings, prompts, seed: flags.seed,
    batch: Math.min(flags.batch ?? defaultBatch(prompts.length, height, width), prompts.length),
    onStep: (done, total) => progress.step(done, total, 'steps'),
  };
  return { job, sampler, steps };
}

async function run(flags: Flags): Promise<void> {
  const progress = terminalProgress(flags.quiet === true);
  await checkWritable(flags.out, 'folder');
  const texts = await chosenPrompts(flags);
  if (texts.length * flags.count > MOST_IMAGES) {
    throw new UsageError(`--count ${flags.count} of ${texts.length} prompt(s) is more than ${MOST_IMAGES} images; make them in parts, with other --seed and --out`);
  }
  const prompts = texts.flatMap((text) => Array.from({ length: flags.count }, () => text));
  const loras = await loadLoras(flags.lora ?? [], progress);
  let pipeline = await loadModel(flags.model, progress, flags);
  const { job, sampler, steps } = planJob(pipeline, prompts, flags, progress, loras);
  pipeline = await applyLoras(pipeline, loras);

  const { negativePrompt, guidance, width, height } = job;
  const made = madeBy(flags);
  const how = { sampler, steps, guidance, negativePrompt, width, height };
  const about = (prompt: string, seed: number): Record<string, string> => ({
    parameters: parametersText(generationParameters(made, job, prompt, seed, `attune ${packageVersion}`)),
    attune: JSON.stringify({ attune: packageVersion, ...withoutFolders(made), ...how, prompt, seed }),
  });
  const size = `${width} x ${height}`;
  progress.phase(`sampling ${prompts.length} image(s) of ${size}: ${sampler}, ${steps} steps, guidance ${guidance}`);
  const began = performance.now();
  const images: Result['images'] = [];
  const sheet: HostTensor[] = [];
  try {
    for await (const batch of sampleImages(pipeline, job)) {
      for (const { index, seed, prompt, image } of batch) {
        const file = join(flags.out, `${String(index).padStart(5, '0')}.png`);
        await writePng(file, image, about(prompt, seed));
        images.push({ file, prompt, seed });
        if (sheet.length < SHEET_PIXELS / Math.max(width * height, CELL * CELL)) sheet.push(image);
        if (!flags.json) process.stdout.write(`${inLine(file)}\n`);
      }
    }
  } catch (error) {
    if (error !== stopSignal.reason || images.length === 0) throw error; // what is made is shown
  }
  const seconds = (performance.now() - began) / 1000;
  const grid = join(flags.out, 'grid.png');
  if (sheet.length < images.length) progress.warn(`${grid} shows the first ${sheet.length} of ${images.length} images`);
  await writePng(grid, await contactSheet(sheet, prompts, flags.count), about(images[0]!.prompt, images[0]!.seed));
  const result: Result = {
    ...made, ...how, seconds, grid, images,
  };
  process.stdout.write(flags.json ? `${JSON.stringify(result)}\n` : `${inLine(grid)}\n`);
}

/** Of one call; they are listed in memory, and their names have five digits. */
const MOST_IMAGES = 100_000;

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
Image i depends on its prompt and on seed + i alone: --seed 7 --count 1 makes image 7 of --seed 0 again. The same
command makes the same files byte for byte; another number of images or threads, another --batch or processor adds the
same numbers up in another order, and single values may then differ by a level of 255.
Files of the same name in the output folder are replaced. Each PNG tells how it was made, as A1111 writes it, and in full as JSON under "attune".

Examples:
  attune sample --prompt "a red apple, 3d" --count 16
  attune sample --prompts animals --lora runs/first/lora/kohya.safetensors:0.8 --out animals
  attune sample --model stable-diffusion-v1-5/stable-diffusion-v1-5 --prompt "a lighthouse at dusk" \\
    --negative "blurry" --guidance 7.5 --sampler dpm++2m --sampling-steps 25 --size 512x768
`;

export function sampleCommand(): Command {
  const command = withPromptFlags(new Command('sample'))
    .description('Make images of prompts: a PNG each, and grid.png with all of them.')
    .option('--count <n>', 'images of each prompt', wholeNumber(1), 1);
  return withSamplerFlags(command, 'seed of the first image; each next one has one more', 'samples')
    .addHelpText('after', EXAMPLES)
    .action(run);
}
