/** @file What the published models of Stable Diffusion share. */
import type { TokenizerOverrides } from '../tokenizer.js';
import type { PublishedModel } from './family.js';

/** The noise schedule; SD 2.x at 768 pixels predicts v. */
export const SCHEDULE = {
  num_train_timesteps: 1000, beta_start: 0.00085, beta_end: 0.012, beta_schedule: 'scaled_linear', steps_offset: 1,
  set_alpha_to_one: false, clip_sample: false,
};

export const VAE = { block_out_channels: [128, 256, 512, 512], layers_per_block: 2, sample_size: 512 };

/** OpenAI's CLIP ViT-L/14, the text encoder of SD 1.x and the first one of SDXL. */
export const CLIP_L = {
  hidden_size: 768, intermediate_size: 3072, num_hidden_layers: 12, num_attention_heads: 12, projection_dim: 768,
  hidden_act: 'quick_gelu', eos_token_id: 2,
};

/** CLIP's vocabulary, which all of them use; only SD 1.x and the first encoder of SDXL pad with the end token. */
export const clipTokenizer = (overrides: TokenizerOverrides = {}): PublishedModel['tokenizers'][number] => ({
  repository: 'openai/clip-vit-large-patch14', files: ['vocab.json', 'merges.txt', 'tokenizer_config.json'], overrides,
});
