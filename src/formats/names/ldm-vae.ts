/** @file VAE tensor names of the original (LDM) code and of old diffusers → ours, which are those of diffusers now. */
import { FormatError } from '../errors.js';
import type { WeightSource } from '../weights.js';
import { renamedSource, type Target } from './renamed-source.js';

/** Levels of resolution of the VAE of every family; the original counts those of the decoder from the other end. */
const LEVELS = 4;

/**
 * Our tensor behind an original one.
 * @param path without `first_stage_model.`, e.g. `decoder.up.3.block.0.norm1.weight`
 * @returns e.g. `decoder.up_blocks.0.resnets.0.norm1.weight`; none if it is not such a name
 */
export function vaeFromLdm(path: string): Target[] {
  if (/^(post_)?quant_conv\./.test(path)) return [{ name: path }];
  const match = /^(encoder|decoder)\.(.+)$/.exec(path);
  if (!match) return [];
  const inner = match[2]!
    .replace(/^down\.(\d)\.block\.(\d)\./, 'down_blocks.$1.resnets.$2.')
    .replace(/^down\.(\d)\.downsample\./, 'down_blocks.$1.downsamplers.0.')
    .replace(/^up\.(\d)\.block\.(\d)\./, (_, level, n) => `up_blocks.${LEVELS - 1 - Number(level)}.resnets.${n}.`)
    .replace(/^up\.(\d)\.upsample\./, (_, level) => `up_blocks.${LEVELS - 1 - Number(level)}.upsamplers.0.`)
    .replace(/^mid\.block_([12])\./, (_, n) => `mid_block.resnets.${Number(n) - 1}.`)
    .replace(/^mid\.attn_1\.norm\./, 'mid_block.attentions.0.group_norm.')
    .replace(/^mid\.attn_1\.([qkv])\./, 'mid_block.attentions.0.to_$1.')
    .replace(/^mid\.attn_1\.proj_out\./, 'mid_block.attentions.0.to_out.0.')
    .replace(/^norm_out\./, 'conv_norm_out.')
    .replace('.nin_shortcut.', '.conv_shortcut.');
  const known = /^(down_blocks|up_blocks|mid_block|conv_norm_out|conv_in|conv_out)\./.test(inner);
  return known ? [linearized(`${match[1]}.${inner}`)] : [];
}

const OLD_ATTENTION: Readonly<Record<string, string>> = {
  query: 'to_q', key: 'to_k', value: 'to_v', proj_attn: 'to_out.0',
};

/** The attention of the VAE was named otherwise in diffusers before 0.18. */
const present = (key: string): string => key.replace(/(\.attentions\.0\.)(query|key|value|proj_attn)\./,
  (_, before: string, old: string) => `${before}${OLD_ATTENTION[old]}.`);

/** A VAE in a diffusers folder of any age by the present names. */
export function presentVae(source: WeightSource): WeightSource {
  return renamedSource(source, (key) => [linearized(present(key))]);
}

/** The VAE of a file that holds nothing else, or a checkpoint's, by original or diffusers' names. */
export function vaeFromFile(source: WeightSource): WeightSource {
  const vae = renamedSource(source, (key) => vaeFromLdm(present(key.replace(/^(first_stage_model|vae)\./, ''))));
  if (vae.tensors.size > 0) return vae;
  throw new FormatError(source.where, 'holds no VAE that is known', 'Name a file or folder of an AutoencoderKL.');
}

/** The projections of the attention are linear layers of ours, 1x1 convolutions in older files. */
function linearized(name: string): Target {
  return /\.attentions\.0\.to_(q|k|v|out\.0)\.weight$/.test(name) ? { name, matrix: true } : { name };
}
