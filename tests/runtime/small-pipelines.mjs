/**
 * @file Whole models of each family, as small as their kinds of layers allow, with random weights: for what must be run on
 * slow drivers in software. Groups that are normalised have four channels and more, so that rounding stays rounding.
 */
import process from 'node:process';

const from = (path) => import(new URL(`../../dist/${path}`, import.meta.url).href);
const { componentSchema, componentShapes } = await from('models/components.js');
const { parseConfig } = await from('models/config.js');
const { sd1, sd2 } = await from('models/families/sd.js');
const { sdxl } = await from('models/families/sdxl.js');
const { initialWeights } = await from('models/init.js');
const { loadPipeline } = await from('loading/load.js');
const { fromFloat32 } = await from('graph/dtype.js');

const WIDTH = 32;
const text = { hidden_size: WIDTH, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 2, projection_dim: WIDTH, vocab_size: 566, max_position_embeddings: 77, eos_token_id: 2 };
const unet = {
  block_out_channels: [16, 32], down_block_types: ['CrossAttnDownBlock2D', 'DownBlock2D'], up_block_types: ['UpBlock2D', 'CrossAttnUpBlock2D'],
  layers_per_block: 1, norm_num_groups: 4, cross_attention_dim: WIDTH, attention_head_dim: 2, sample_size: 16,
};
const vae = {
  block_out_channels: [8, 16], down_block_types: ['DownEncoderBlock2D', 'DownEncoderBlock2D'], up_block_types: ['UpDecoderBlock2D', 'UpDecoderBlock2D'],
  layers_per_block: 1, norm_num_groups: 2, sample_size: 32,
};

/** What tells the families apart: SD 2.x predicts v, has heads by level and linear projections; SDXL two encoders and sizes. */
const FAMILIES = {
  sd1: { family: sd1, text: { hidden_act: 'quick_gelu' }, unet: {}, scheduler: {} },
  sd2: { family: sd2, text: { hidden_act: 'gelu' }, unet: { use_linear_projection: true, attention_head_dim: [2, 4] }, scheduler: { prediction_type: 'v_prediction' } },
  sdxl: {
    family: sdxl, second: { hidden_act: 'gelu' }, text: { hidden_act: 'quick_gelu' }, scheduler: {}, zeroEmptyNegative: true,
    unet: {
      use_linear_projection: true, attention_head_dim: [2, 4], transformer_layers_per_block: [1, 2], cross_attention_dim: 2 * WIDTH,
      down_block_types: ['DownBlock2D', 'CrossAttnDownBlock2D'], up_block_types: ['CrossAttnUpBlock2D', 'UpBlock2D'],
      addition_embed_type: 'text_time', addition_time_embed_dim: 8, projection_class_embeddings_input_dim: WIDTH + 6 * 8,
    },
  },
};

/** Names of what can be made here. */
export const SMALL = Object.keys(FAMILIES);

/** @param name `sd1`, `sd2`, `sdxl`, or a model that is loaded (`emoji`) */
export async function smallPipeline(name, precision) {
  const made = FAMILIES[name];
  if (!made) return loadPipeline(name, { precision });
  const base = await loadPipeline(new URL('../fixtures/pipeline_sd1', import.meta.url).pathname);
  const part = (kind, config, path) => {
    const parsed = parseConfig(componentSchema(kind), config, path);
    const weights = initialWeights(componentShapes(kind, parsed), 7);
    // Norms' weights stay float32, as loaders have it.
    const stored = ([key, { data, shape }]) => [`${path}.${key}`, fromFloat32(data, shape, shape.length < 2 ? 'float32' : (precision?.storage ?? 'float32'))];
    return { kind, config: parsed, weights: [...weights].map(stored) };
  };
  const encoder = (kind, own, path) => {
    const { config, weights } = part(kind, { ...text, ...own }, path);
    return { encoder: { ...base.textEncoders[0], name: path, kind, config }, weights };
  };
  const encoders = [encoder('CLIPTextModel', made.text, 'text_encoder'), ...(made.second ? [encoder('CLIPTextModelWithProjection', made.second, 'text_encoder_2')] : [])];
  const denoiser = part('UNet2DConditionModel', { ...unet, ...made.unet }, 'unet');
  const decoder = part('AutoencoderKL', { ...vae }, 'vae');
  return {
    ...base, source: name, family: made.family, zeroEmptyNegative: made.zeroEmptyNegative ?? false,
    denoiser: { kind: denoiser.kind, config: denoiser.config }, vae: { kind: decoder.kind, config: decoder.config },
    textEncoders: encoders.map((e) => e.encoder), scheduler: { ...base.scheduler, ...made.scheduler },
    weights: new Map([...encoders, denoiser, decoder].flatMap((p) => p.weights)),
    ...(precision && { precision: { ...precision, islands: [...precision.islands, ...(made.family.float32Parts ?? [])] } }),
  };
}

// As a program: writes one as a folder that `--model` takes.
if (process.argv[1] === new URL(import.meta.url).pathname) {
  const { savePipeline } = await from('loading/save.js');
  const [name, folder] = process.argv.slice(2);
  await savePipeline(folder, await smallPipeline(name), 'float32');
}
