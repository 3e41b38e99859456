/** @file Loads a pipeline from one `.safetensors` checkpoint with the original (LDM) names of SD 1.x, 2.x or SDXL. */
import { join } from 'node:path';
import { FormatError } from '../formats/errors.js';
import { readJsonFile } from '../formats/json.js';
import type { Family } from '../formats/names/ldm-unet.js';
import { detectSingleFile, guessPrediction, refuseEdm, singleFileComponent } from '../formats/names/single-file.js';
import { openWeights } from '../formats/open-weights.js';
import type { WeightSource } from '../formats/weights.js';
import { componentSchema } from './components.js';
import type { ComponentClass } from './components.js';
import { parseConfig } from './config.js';
import { fetchFiles } from './hub.js';
import { assemble, pipelineScheduler } from './load-folder.js';
import type { Assembly, LoadOptions, OpenPart } from './load-folder.js';
import { openVae } from './load-vae.js';
import type { PartName, Pipeline } from './pipeline.js';
import type { TokenizerOverrides } from './tokenizer-files.js';

export interface SingleFileOptions {
  /**
   * A bundled name, hub id or folder in diffusers layout (its weights are not needed) that says how the model is
   * built: for checkpoints of other sizes than the published ones, for their tokenizer, and for what they predict, as
   * SD 2.x files do not tell themselves.
   */
  like?: string | undefined;
  /** What the network predicts, where neither the file nor `like` tells it rightly. */
  prediction?: Prediction | undefined;
}

export const PREDICTIONS = ['epsilon', 'v_prediction'] as const;
export type Prediction = (typeof PREDICTIONS)[number];

/** What the published models of a family share; SD 2.x at 768 pixels predicts v. */
const SCHEDULE = {
  num_train_timesteps: 1000, beta_start: 0.00085, beta_end: 0.012, beta_schedule: 'scaled_linear', steps_offset: 1,
  set_alpha_to_one: false, clip_sample: false,
};
const VAE = { block_out_channels: [128, 256, 512, 512], layers_per_block: 2, sample_size: 512 };
const CLIP_L = {
  hidden_size: 768, intermediate_size: 3072, num_hidden_layers: 12, num_attention_heads: 12, projection_dim: 768,
  hidden_act: 'quick_gelu', eos_token_id: 2,
};
/** Configurations by family and part; what they leave out is the default of the reference libraries. */
export const PUBLISHED = {
  sd1: {
    unet: { cross_attention_dim: 768, attention_head_dim: 8, sample_size: 64 },
    vae: VAE,
    text_encoder: CLIP_L,
    scheduler: { _class_name: 'DDIMScheduler', ...SCHEDULE },
  },
  sd2: {
    unet: {
      cross_attention_dim: 1024, attention_head_dim: [5, 10, 20, 20], use_linear_projection: true, sample_size: 96,
    },
    vae: VAE,
    text_encoder: {
      hidden_size: 1024, intermediate_size: 4096, num_hidden_layers: 23, num_attention_heads: 16, projection_dim: 512,
      hidden_act: 'gelu', eos_token_id: 2,
    },
    scheduler: { _class_name: 'DDIMScheduler', ...SCHEDULE, prediction_type: 'v_prediction' },
  },
  sdxl: {
    unet: {
      block_out_channels: [320, 640, 1280], attention_head_dim: [5, 10, 20], transformer_layers_per_block: [1, 2, 10],
      down_block_types: ['DownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D'],
      up_block_types: ['CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'UpBlock2D'],
      cross_attention_dim: 2048, use_linear_projection: true, sample_size: 128,
      addition_embed_type: 'text_time', addition_time_embed_dim: 256, projection_class_embeddings_input_dim: 2816,
    },
    vae: { ...VAE, scaling_factor: 0.13025, sample_size: 1024 },
    text_encoder: CLIP_L,
    text_encoder_2: {
      hidden_size: 1280, intermediate_size: 5120, num_hidden_layers: 32, num_attention_heads: 20, projection_dim: 1280,
      hidden_act: 'gelu', eos_token_id: 2,
    },
    scheduler: { _class_name: 'EulerDiscreteScheduler', ...SCHEDULE, timestep_spacing: 'leading' },
  },
} as const;

/** The class of each part of a single file. */
export const COMPONENT_KINDS = {
  unet: 'UNet2DConditionModel',
  vae: 'AutoencoderKL',
  text_encoder: 'CLIPTextModel',
  text_encoder_2: 'CLIPTextModelWithProjection',
} as const satisfies Record<PartName, ComponentClass>;

/** All use CLIP's vocabulary; only SD 1.x and the first encoder of SDXL pad with the end token. */
const VOCABULARY = {
  repository: 'openai/clip-vit-large-patch14',
  files: ['vocab.json', 'merges.txt', 'tokenizer_config.json'],
};
const PADDING: Record<Family, readonly TokenizerOverrides[]> = {
  sd1: [{}],
  sd2: [{ pad: '!' }],
  sdxl: [{}, { pad: '!' }],
};

/** @throws FormatError naming the file and what is wrong */
export async function loadSingleFile(path: string, options: LoadOptions & SingleFileOptions = {}): Promise<Pipeline> {
  const file = await openWeights(path);
  let other: OpenPart | undefined;
  try {
    const { like, vae } = options;
    refuseEdm(file);
    const plan = like === undefined ? await publishedPlan(file, options) : await planLike(like);
    const { family, configs } = plan;
    const parts = (Object.keys(configs) as PartName[]).filter((name) => name !== 'vae' || !vae).map((name): OpenPart => {
      const kind = COMPONENT_KINDS[name];
      const source = singleFileComponent(file, family, name);
      const config = parseConfig(componentSchema(kind), configs[name], `${path} (${name})`);
      return { name, kind, config, source } as OpenPart;
    });
    if (vae !== undefined) {
      other = await openVae(vae, configs.vae);
      parts.push(other);
    }
    const { name = path, onProgress } = options;
    return await assemble(parts, { ...plan, source: name, ...(onProgress && { onProgress }) });
  } finally {
    await Promise.all([file.close(), other?.source.close()]);
  }
}

/** How a checkpoint is built that does not say so itself. */
interface Plan extends Pick<Assembly, 'tokenizerFolders' | 'tokenizerOverrides' | 'scheduler' | 'zeroEmptyNegative'> {
  family: Family;
  configs: Partial<Record<PartName, unknown>>;
}

/** The published model of the family that the file's shapes show. */
async function publishedPlan(file: WeightSource, options: LoadOptions & SingleFileOptions): Promise<Plan> {
  const { family, inChannels, prediction: told, zeroTerminalSnr } = detectSingleFile(file);
  const { scheduler, ...configs } = PUBLISHED[family];
  let prediction = options.prediction ?? told;
  if (!prediction && family === 'sd2') {
    const guess = await guessPrediction(file, inChannels);
    ({ prediction } = guess);
    const [what, other] = prediction === 'epsilon' ? ['the noise', 'v_prediction'] : ['v', 'epsilon'];
    options.onWarning?.(`${file.where} is an SD 2.x model that does not say what it predicts; ${guess.reason}, so that ` +
      `${what} is assumed. If images are only noise or blotches, give --prediction ${other}`);
  }
  // What predicts the noise was trained on 512 pixels.
  const base = family === 'sd2' && prediction === 'epsilon' && { sample_size: 64 };
  const guidance = singleFileComponent(file, family, 'unet').tensors.get('time_embedding.cond_proj.weight'); // LCM
  const unet = { ...configs.unet, ...base, in_channels: inChannels, ...(guidance && { time_cond_proj_dim: guidance.shape[1] }) };
  const folder = await fetchFiles(VOCABULARY.repository, VOCABULARY.files).catch((cause: unknown) => {
    throw new FormatError(file.where, `has no tokenizer in it, and ${(cause as Error).message}`,
      'Or say with --like which folder or hub id the checkpoint is built like.', { cause });
  });
  const tokenizerOverrides = PADDING[family];
  return {
    family,
    configs: { ...configs, unet },
    scheduler: {
      ...scheduler,
      ...(prediction && { prediction_type: prediction }),
      ...(zeroTerminalSnr && { rescale_betas_zero_snr: true }),
    },
    zeroEmptyNegative: family === 'sdxl',
    tokenizerFolders: tokenizerOverrides.map(() => folder),
    tokenizerOverrides,
  };
}

/** The configurations of a folder in diffusers layout. */
async function planLike(folder: string): Promise<Plan> {
  const read = (...parts: string[]): Promise<Record<string, unknown>> => readJsonFile(join(folder, ...parts));
  const index = await read('model_index.json');
  const parts = Object.keys(COMPONENT_KINDS) as PartName[];
  const names = parts.filter((name) => Array.isArray(index[name]) && index[name][0] !== null);
  const configs: Plan['configs'] = {};
  for (const name of names) configs[name] = await read(name, 'config.json');
  const texts = names.filter((name) => name.startsWith('text_encoder'));
  // OpenCLIP's encoders have another activation than OpenAI's: that tells SD 2.x from 1.x.
  const openClip = (configs['text_encoder'] as { hidden_act?: unknown } | undefined)?.hidden_act === 'gelu';
  return {
    family: texts.length === 2 ? 'sdxl' : openClip ? 'sd2' : 'sd1',
    configs,
    scheduler: pipelineScheduler(index, await read('scheduler', 'scheduler_config.json')),
    zeroEmptyNegative: texts.length === 2 && index['force_zeros_for_empty_prompt'] !== false,
    tokenizerFolders: texts.map((name) => join(folder, name.replace('text_encoder', 'tokenizer'))),
  };
}
