/**
 * @file U-Net module names of the original (LDM) code ↔ ours, which are those of diffusers. The original numbers all
 * layers of a path through; every level has two of them (three going up) and then a change of resolution.
 */

/** The model families whose original names are known. */
export type Family = 'sd1' | 'sd2' | 'sdxl';

type Renames = readonly (readonly [ldm: string, ours: string])[];

const OUTER: Renames = [
  ['time_embed.0', 'time_embedding.linear_1'], ['time_embed.2', 'time_embedding.linear_2'],
  ['time_embed.cond_proj', 'time_embedding.cond_proj'], // guidance embedding of LCM
  ['label_emb.0.0', 'add_embedding.linear_1'], ['label_emb.0.2', 'add_embedding.linear_2'],
  ['input_blocks.0.0', 'conv_in'], ['out.0', 'conv_norm_out'], ['out.2', 'conv_out'],
];

const RESNET: Renames = [
  ['in_layers.0', 'norm1'], ['in_layers.2', 'conv1'], ['emb_layers.1', 'time_emb_proj'],
  ['out_layers.0', 'norm2'], ['out_layers.3', 'conv2'], ['skip_connection', 'conv_shortcut'],
];

const MIDDLE: Renames = [
  ['middle_block.0', 'mid_block.resnets.0'], ['middle_block.1', 'mid_block.attentions.0'],
  ['middle_block.2', 'mid_block.resnets.1'],
];

/** `path` with its beginning renamed from column `from` to the other one; undefined if none fits whole segments. */
function renamed(path: string, renames: Renames, from: 0 | 1): string | undefined {
  for (const pair of renames) {
    const old = pair[from];
    if (path === old || path.startsWith(`${old}.`)) return pair[1 - from] + path.slice(old.length);
  }
  return undefined;
}

/**
 * Our name of an original one.
 * @param path a tensor's or module's name without `model.diffusion_model.`, e.g.
 *   `input_blocks.1.1.transformer_blocks.0.attn1.to_q`
 * @returns e.g. `down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q`; undefined if it is not such a name
 */
export function unetFromLdm(path: string): string | undefined {
  const outer = renamed(path, OUTER, 0);
  if (outer !== undefined) return outer;
  const middle = renamed(path, MIDDLE, 0);
  if (middle !== undefined) return renameInner(middle, 0);
  const match = /^(input|output)_blocks\.(\d{1,2})\.([012])\.(.+)$/.exec(path);
  if (!match) return undefined;
  const [, side, number, sub, rest] = match as unknown as [string, 'input' | 'output', string, string, string];
  const n = side === 'input' ? Number(number) - 1 : Number(number); // input 0 is the first convolution
  const blocks = side === 'input' ? 'down_blocks' : 'up_blocks';
  const block = `${blocks}.${Math.floor(n / 3)}`;
  const layer = n % 3;
  if (n < 0) return undefined;
  if (side === 'input' && layer === 2) return renamed(`${sub}.${rest}`, [['0.op', `${block}.downsamplers.0.conv`]], 0);
  if (side === 'output' && sub !== '0' && /^conv(\.|$)/.test(rest)) return `${block}.upsamplers.0.${rest}`;
  if (sub === '2') return undefined;
  return renameInner(`${block}.${sub === '0' ? 'resnets' : 'attentions'}.${layer}.${rest}`, 0);
}

/**
 * The original name of ours, the inverse of `unetFromLdm`.
 * @param path a tensor's or module's name without component
 */
export function unetToLdm(path: string, family: Family): string | undefined {
  const inner = renameInner(path, 1);
  if (inner === undefined) return undefined;
  const simple = renamed(inner, OUTER, 1) ?? renamed(inner, MIDDLE, 1);
  if (simple !== undefined) return simple;
  const match = /^(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.+)$/.exec(inner);
  if (!match) return undefined;
  const [, side, block, kind, layer, rest] = match as unknown as [string, string, string, string, string, string];
  const first = 3 * Number(block);
  if (kind === 'downsamplers') return renamed(rest, [[`input_blocks.${first + 3}.0.op`, 'conv']], 1);
  // An upsampler follows the level's last attention, where it has any.
  if (kind === 'upsamplers') return `output_blocks.${first + 2}.${family === 'sdxl' || first > 0 ? 2 : 1}.${rest}`;
  const sub = kind === 'resnets' ? 0 : 1;
  const n = first + Number(layer) + (side === 'down' ? 1 : 0);
  return `${side === 'down' ? 'input' : 'output'}_blocks.${n}.${sub}.${rest}`;
}

/** Renames what lies inside a residual block; attention blocks are named alike in both. */
function renameInner(path: string, from: 0 | 1): string | undefined {
  const match = /^(.+\.resnets\.\d\.)(.+)$/.exec(path);
  if (!match) return path;
  const inner = renamed(match[2]!, RESNET, from);
  return inner && match[1] + inner;
}
