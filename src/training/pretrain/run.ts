/** @file Carries out a recipe: reads the data, trains the network, writes it in diffusers layout. */
import { join } from 'node:path';
import { writeAtomic } from '../../formats/atomic.js';
import { ConfigError, FormatError } from '../../formats/errors.js';
import { writeSafetensors } from '../../formats/safetensors.js';
import type { HostTensor } from '../../graph/dtype.js';
import { host } from '../../graph/dtype.js';
import type { Tensor } from '../../graph/tensor.js';
import { deferred } from '../../host/resources.js';
import { imageFeatures, normalizePixels } from '../../models/clip.js';
import { readComponent, writeComponent } from '../../loading/component-files.js';
import { componentShapes } from '../../models/components.js';
import type { ComponentClass, ComponentConfigs } from '../../models/components.js';
import type { ModelFamily } from '../../models/families/family.js';
import { small } from '../../models/families/small.js';
import { initialWeights } from '../../models/init.js';
import { modelIndex } from '../../loading/save.js';
import { frozenWeights, rootScope } from '../../nn/scope.js';
import { readVpConfig } from '../../schedulers/scheduler-config.js';
import type { Progress } from '../../runs/progress.js';
import { autoencoder } from './autoencoder.js';
import { captionTokenizer } from './caption-tokenizer.js';
import { contrastive } from './contrastive.js';
import { loadPictures } from './dataset.js';
import type { Dataset, Pictures } from './dataset.js';
import { denoiser, TEXT_ENCODER, UNET } from './denoiser.js';
import { fit } from './fit.js';
import type { FitOptions, Trainable } from './fit.js';
import { latentsOf, overPictures, rendered, scaledLatents, scalingFactor } from './latents.js';
import type { Recipe, RecipeOf } from './recipe.js';
import { rewardModel } from './reward-model.js';
import { styleHead } from './style-head.js';
import { HEAD, textEncoder } from './text-encoder.js';
import { openWorkLog } from './work-log.js';
import type { WorkLog } from './work-log.js';

export interface PretrainOptions {
  /** Folder of the model, in diffusers layout. */
  out: string;
  /** Folder for checkpoints, metrics and log. */
  work: string;
  /** The command that goes on with it, for people. */
  again?: string;
  seed: number;
  resume: boolean;
  /** Start from the weights that lie in `out`, where there are any, instead of from random ones. */
  fromExisting: boolean;
  threads?: number;
  checkpointSeconds: number;
  progress: Progress;
  /** Once it is aborted, or the work folder is asked to stop (`askToStop`), the step under way is the last. */
  signal?: AbortSignal;
  /** Of a reward model trained on pairs: picture i of the data was preferred to picture i of these. */
  losers?: Pictures;
}

/** What the networks' trainings need besides: who is told of what happens. */
type Working = PretrainOptions & { readonly emit: WorkLog['emit'] };

type Average = ReadonlyMap<string, HostTensor>;

/** The weights to start from: random, or (if asked for) those of the component's folder. @throws FormatError if they do not fit */
async function firstWeights<K extends ComponentClass>(
  kind: K, config: ComponentConfigs[K], folder: string, { fromExisting, seed }: PretrainOptions,
): Promise<Map<string, HostTensor>> {
  const shapes = componentShapes(kind, config);
  if (!fromExisting) return initialWeights(shapes, seed, small.denoiser.zeroAtFirst);
  const { weights } = await readComponent(folder, kind);
  for (const [name, shape] of shapes) {
    if (weights.get(name)?.shape.join() === shape.join()) continue;
    throw new FormatError(folder, `"${name}" is not [${shape.join(', ')}] as in the recipe`, 'Leave out --from-existing, or take its recipe.');
  }
  return new Map(weights);
}

const captionsOf = ({ records }: Dataset): string[] => records.flatMap(({ captions }) => captions);

const prefixed = (prefix: string, weights: Average): [string, HostTensor][] =>
  [...weights].map(([name, t]) => [prefix + name, t]);

/** The weights under a prefix, without it. */
const part = (weights: Average, prefix: string): Map<string, HostTensor> =>
  new Map([...weights].flatMap(([name, t]) => (name.startsWith(prefix) ? [[name.slice(prefix.length), t]] : [])));

function fitOptions(recipe: Recipe, options: Working, onCheckpoint: FitOptions['onCheckpoint']): FitOptions {
  const { work, resume, threads, checkpointSeconds, progress, signal, emit } = options;
  return {
    ...recipe.training,
    folder: work,
    resume,
    checkpointSeconds,
    progress,
    emit,
    ...(signal && { signal }),
    ...(threads === undefined ? {} : { threads }),
    ...(onCheckpoint ? { onCheckpoint } : {}),
  };
}

async function pretrainVae(recipe: RecipeOf<'vae'>, dataset: Dataset, options: Working): Promise<void> {
  const folder = join(options.out, 'vae');
  const { config } = recipe;
  const before = recipe.decoderOnly ? await readComponent(folder, 'AutoencoderKL') : null;
  const parameters = before ? new Map(before.weights) : await firstWeights('AutoencoderKL', config, folder, options);
  const { window, klWeight, edgeWeight, decoderOnly, training: { batch } } = recipe;
  const net = autoencoder(dataset, { config, parameters, batch, seed: options.seed, window, klWeight, edgeWeight, decoderOnly });
  const { average } = await fit(net, fitOptions(recipe, options, undefined));
  const weights = new Map([...parameters, ...average]);
  await writeComponent(folder, { kind: 'AutoencoderKL', config: before?.config ?? config, weights });
  if (before) return;
  // What was written is what will be read: the factor belongs to the stored (float16) weights.
  const { latents } = await latentsOf(dataset, folder, options);
  const scaled = { ...config, scaling_factor: Number(scalingFactor(latents).toPrecision(5)) };
  await writeComponent(folder, { kind: 'AutoencoderKL', config: scaled, weights });
}

async function pretrainTextEncoder(recipe: RecipeOf<'text-encoder'>, dataset: Dataset, options: Working): Promise<void> {
  const { out, seed } = options;
  const { config, training: { batch } } = recipe;
  const tokenizer = await captionTokenizer(join(out, 'tokenizer'), captionsOf(dataset), config);
  const pixels = await scaledLatents(dataset, join(out, 'vae'), options);
  const [count] = pixels.shape as [number];
  const width = pixels.data.length / count;
  const head = initialWeights(new Map([['weight', [width, config.hidden_size]], ['bias', [width]]]), seed);
  const folder = join(out, 'text_encoder');
  const parameters = new Map([
    ...prefixed(TEXT_ENCODER, await firstWeights('CLIPTextModel', config, folder, options)), ...prefixed(HEAD, head),
  ]);
  const latents = host(pixels.data, [count, width]);
  const net = textEncoder({ config, parameters, tokenizer, latents, records: dataset.records, batch, seed });
  const write = (average: Average): Promise<void> =>
    writeComponent(folder, { kind: 'CLIPTextModel', config, weights: part(average, TEXT_ENCODER) });
  await fit(net, fitOptions(recipe, options, write));
}

async function pretrainDenoiser(recipe: RecipeOf<'denoiser'>, dataset: Dataset, options: Working): Promise<void> {
  const { out, seed } = options;
  const tokenizer = await captionTokenizer(join(out, 'tokenizer'), captionsOf(dataset), recipe.textEncoder);
  const latents = await scaledLatents(dataset, join(out, 'vae'), options);
  const text = { ...options, fromExisting: options.fromExisting || recipe.trainedTextEncoder };
  const parameters = new Map([
    ...prefixed(UNET, await firstWeights('UNet2DConditionModel', recipe.unet, join(out, 'unet'), options)),
    ...prefixed(TEXT_ENCODER, await firstWeights('CLIPTextModel', recipe.textEncoder, join(out, 'text_encoder'), text)),
  ]);
  const schedulerFile = join(out, 'scheduler', 'scheduler_config.json');
  await writeAtomic(schedulerFile, `${JSON.stringify(recipe.scheduler, null, 2)}\n`);
  const { process: noising, warnings, instead } = readVpConfig(recipe.scheduler, schedulerFile);
  const [problem] = [...warnings, ...(instead === null ? [] : [instead])];
  if (problem !== undefined) throw new FormatError(schedulerFile, problem, 'Mend the scheduler in the recipe.');
  const net = denoiser({
    unet: recipe.unet,
    textEncoder: recipe.textEncoder,
    parameters,
    tokenizer,
    latents,
    records: dataset.records,
    process: noising,
    batch: recipe.training.batch,
    seed,
    minSnr: recipe.minSnr,
    promptDropout: recipe.promptDropout,
  });
  const write = async (average: Average): Promise<void> => {
    await writeComponent(join(out, 'unet'), { kind: 'UNet2DConditionModel', config: recipe.unet, weights: part(average, UNET) });
    await writeComponent(join(out, 'text_encoder'), { kind: 'CLIPTextModel', config: recipe.textEncoder, weights: part(average, TEXT_ENCODER) });
    // With it the folder is a model that all other commands take.
    await writeAtomic(join(out, 'model_index.json'), modelIndex({
      family: small as ModelFamily, denoiser: { kind: 'UNet2DConditionModel', config: recipe.unet }, vae: { kind: 'AutoencoderKL' }, scheduler: recipe.scheduler,
      textEncoders: [{ name: 'text_encoder', kind: 'CLIPTextModel' }],
    }));
  };
  await fit(net, fitOptions(recipe, options, write));
}

async function pretrainClip(recipe: RecipeOf<'clip'>, dataset: Dataset, options: Working): Promise<void> {
  const { text_config: text } = recipe.config;
  const tokenizer = await captionTokenizer(join(options.out, 'tokenizer'), captionsOf(dataset), text);
  const { config, shift, noise, training: { batch } } = recipe;
  const parameters = await firstWeights('CLIPModel', config, join(options.out, recipe.name), options);
  const net: Trainable = contrastive(dataset, { config, parameters, tokenizer, batch, seed: options.seed, shift, noise });
  const write = (weights: Average): Promise<void> =>
    writeComponent(join(options.out, recipe.name), { kind: 'CLIPModel', config, weights });
  await fit(net, fitOptions(recipe, options, write));
}

async function pretrainStyleHead(recipe: RecipeOf<'style-head'>, dataset: Dataset, options: Working): Promise<void> {
  const clip = await readComponent(join(options.out, recipe.clip), 'CLIPModel');
  options.progress.phase('extracting features');
  const scope = rootScope(frozenWeights());
  const embed = (x: Tensor): Tensor => imageFeatures(scope, clip.config, normalizePixels(x));
  const features = await overPictures(dataset, clip.weights, embed, options);
  const width = features.shape[1]!;
  const net = styleHead({
    features,
    labels: Float32Array.from(dataset.records, (r) => (r.style === recipe.positive ? 1 : 0)),
    parameters: initialWeights(new Map([['weight', [1, width]], ['bias', [1]]]), options.seed),
    batch: recipe.training.batch,
    seed: options.seed,
  });
  const write = (weights: Average): Promise<void> =>
    writeSafetensors(join(options.out, 'style-head', 'model.safetensors'), weights, { positive: recipe.positive });
  await fit(net, fitOptions(recipe, options, write));
}

function worsePictures({ worse, imageSize }: RecipeOf<'reward-model'>, { progress, signal }: Working): Promise<Pictures> {
  if (worse.length === 0) throw new ConfigError('a reward model needs worse pictures too: give --worse DIR, or a list of pairs as --data');
  progress.phase(`reading the worse pictures from ${worse.join(', ')}`);
  return loadPictures(worse, imageSize, {
    onProgress: (done, total) => {
      signal?.throwIfAborted();
      progress.step(done, total, 'pictures');
    },
    onWarning: (text) => progress.warn(text),
  });
}

async function pretrainRewardModel(recipe: RecipeOf<'reward-model'>, dataset: Dataset, options: Working): Promise<void> {
  const { out, seed } = options;
  const { training: { batch }, shift, noise, gradientPenalty } = recipe;
  const worse = options.losers ?? await worsePictures(recipe, options);
  const better = recipe.throughVae ? await rendered(dataset, join(out, 'vae'), options) : dataset;
  const clip = await readComponent(join(out, recipe.clip), 'CLIPModel');
  const config = { ...clip.config.vision_config, projection_dim: 1 };
  const folder = join(out, recipe.name);
  const parameters = await firstWeights('CLIPVisionModelWithProjection', config, folder, options);
  if (!options.fromExisting) {
    // All but the output comes from the CLIP.
    for (const [name, t] of parameters) {
      const known = clip.weights.get(name)!;
      if (known.shape.join() === t.shape.join()) parameters.set(name, { ...known, data: known.data.slice() });
    }
  }
  const net = rewardModel(better, worse, { config, parameters, batch, seed, shift, noise, gradientPenalty, paired: options.losers !== undefined });
  const write = (weights: Average): Promise<void> =>
    writeComponent(folder, { kind: 'CLIPVisionModelWithProjection', config, weights });
  await fit(net, fitOptions(recipe, options, write));
}

function train(recipe: Recipe, dataset: Dataset, options: Working): Promise<void> {
  if (recipe.network === 'vae') return pretrainVae(recipe, dataset, options);
  if (recipe.network === 'text-encoder') return pretrainTextEncoder(recipe, dataset, options);
  if (recipe.network === 'denoiser') return pretrainDenoiser(recipe, dataset, options);
  if (recipe.network === 'clip') return pretrainClip(recipe, dataset, options);
  if (recipe.network === 'style-head') return pretrainStyleHead(recipe, dataset, options);
  return pretrainRewardModel(recipe, dataset, options);
}

/**
 * Trains the network that the recipe names and writes it below `options.out`; the work folder is a run meanwhile.
 *
 * @returns whether it is done; false if it was asked to stop before
 */
export async function pretrain(recipe: Recipe, dataset: Dataset, options: PretrainOptions): Promise<boolean> {
  const { work, out, seed, again, resume, progress } = options;
  const wish = new AbortController();
  const signal = AbortSignal.any([wish.signal, ...(options.signal ? [options.signal] : [])]);
  const settings = {
    method: { name: `pretrain ${recipe.network}` }, model: out, rewards: [], steps: recipe.training.steps, seed, ...(again !== undefined && { again }), recipe,
  };
  const log = await openWorkLog(work, settings, { resume, progress, onStop: () => wish.abort(new Error('asked to stop')) });
  let step = null as number | null;
  const emit: WorkLog['emit'] = async (event) => {
    await log.emit(event);
    if (event.type === 'checkpoint' || event.type === 'resumed') step = event.step;
  };
  await using _ = deferred(() => log.release());
  try {
    await train(recipe, dataset, { ...options, signal, progress: log.progress, emit });
    await log.emit({ type: 'ended', how: 'finished' });
    return true;
  } catch (error) {
    const stopped = signal.aborted && error === signal.reason;
    await log.stop(stopped ? null : error);
    if (!stopped) throw error;
    progress.phase(step === null ? 'stopped before the first step' : `stopped at step ${step}${again === undefined ? '' : `; go on with: ${again}`}`);
    return false;
  }
}
