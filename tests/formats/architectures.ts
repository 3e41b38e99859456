/**
 * @file The tensor names of the Stable Diffusion models, twice: as the modules of diffusers and transformers nest, and
 * as the loops of the original code number them (ldm/modules/diffusionmodules/openaimodel.py and model.py, open_clip).
 * Neither knows of the mapping under test.
 */

export interface UNetShape {
  readonly channels: readonly number[];
  /** Transformer blocks per attention, by level; 0: no attention. */
  readonly depth: readonly number[];
  readonly added: boolean;
}

export const UNETS: Readonly<Record<'sd1' | 'sd2' | 'sdxl', UNetShape>> = {
  sd1: { channels: [320, 640, 1280, 1280], depth: [1, 1, 1, 0], added: false },
  sd2: { channels: [320, 640, 1280, 1280], depth: [1, 1, 1, 0], added: false },
  sdxl: { channels: [320, 640, 1280], depth: [0, 2, 10], added: true },
};

const both = (...paths: string[]) => paths.flatMap((path) => [`${path}.weight`, `${path}.bias`]);
const range = (n: number) => Array.from({ length: n }, (_, i) => i);
const under = (prefix: string, names: readonly string[]) => names.map((name) => `${prefix}.${name}`);

/** A spatial transformer; its inside is named alike in both. */
function attention(depth: number): string[] {
  const block = [
    ...both('norm1', 'norm2', 'norm3', 'ff.net.0.proj', 'ff.net.2', 'attn1.to_out.0', 'attn2.to_out.0'),
    ...['attn1', 'attn2'].flatMap((a) => ['q', 'k', 'v'].map((p) => `${a}.to_${p}.weight`)),
  ];
  const blocks = range(depth).flatMap((k) => under(`transformer_blocks.${k}`, block));
  return [...both('norm', 'proj_in', 'proj_out'), ...blocks];
}

export function diffusersUNet({ channels, depth, added }: UNetShape): string[] {
  const resnet = (shortcut: boolean) => both('norm1', 'conv1', 'time_emb_proj', 'norm2', 'conv2',
    ...(shortcut ? ['conv_shortcut'] : []));
  const names = both('conv_in', 'time_embedding.linear_1', 'time_embedding.linear_2', 'conv_norm_out', 'conv_out',
    ...(added ? ['add_embedding.linear_1', 'add_embedding.linear_2'] : []));
  const last = channels.length - 1;
  for (const i of range(channels.length)) {
    for (const j of range(2)) {
      const from = j === 0 ? channels[Math.max(0, i - 1)]! : channels[i]!;
      names.push(...under(`down_blocks.${i}.resnets.${j}`, resnet(from !== channels[i])));
      if (depth[i]) names.push(...under(`down_blocks.${i}.attentions.${j}`, attention(depth[i])));
    }
    if (i < last) names.push(...both(`down_blocks.${i}.downsamplers.0.conv`));
    for (const j of range(3)) {
      names.push(...under(`up_blocks.${i}.resnets.${j}`, resnet(true)));
      if (depth[last - i]) names.push(...under(`up_blocks.${i}.attentions.${j}`, attention(depth[last - i]!)));
    }
    if (i < last) names.push(...both(`up_blocks.${i}.upsamplers.0.conv`));
  }
  const middle = Math.max(1, depth[last]!);
  return [...names, ...under('mid_block.resnets.0', resnet(false)), ...under('mid_block.resnets.1', resnet(false)),
    ...under('mid_block.attentions.0', attention(middle))];
}

export function ldmUNet({ channels, depth, added }: UNetShape): string[] {
  const resBlock = (skip: boolean) => both('in_layers.0', 'in_layers.2', 'emb_layers.1', 'out_layers.0', 'out_layers.3',
    ...(skip ? ['skip_connection'] : []));
  const names = both('time_embed.0', 'time_embed.2', 'input_blocks.0.0', 'out.0', 'out.2',
    ...(added ? ['label_emb.0.0', 'label_emb.0.2'] : []));
  let n = 1;
  let ch = channels[0]!;
  for (const [level, width] of channels.entries()) {
    for (let i = 0; i < 2; i++, n++) {
      names.push(...under(`input_blocks.${n}.0`, resBlock(ch !== width)));
      if (depth[level]) names.push(...under(`input_blocks.${n}.1`, attention(depth[level])));
      ch = width;
    }
    if (level < channels.length - 1) names.push(...both(`input_blocks.${n++}.0.op`));
  }
  names.push(...under('middle_block.0', resBlock(false)), ...under('middle_block.2', resBlock(false)),
    ...under('middle_block.1', attention(Math.max(1, depth.at(-1)!))));
  n = 0;
  for (const level of range(channels.length).reverse()) {
    for (let i = 0; i < 3; i++, n++) {
      let layer = 0;
      names.push(...under(`output_blocks.${n}.${layer++}`, resBlock(true)));
      if (depth[level]) names.push(...under(`output_blocks.${n}.${layer++}`, attention(depth[level])));
      if (level > 0 && i === 2) names.push(...both(`output_blocks.${n}.${layer}.conv`));
    }
  }
  return names;
}

const VAE_WIDTHS = [128, 256, 512, 512];

export function diffusersVae(): string[] {
  const resnet = (shortcut: boolean) => (
    both('norm1', 'conv1', 'norm2', 'conv2', ...(shortcut ? ['conv_shortcut'] : []))
  );
  const names = both('quant_conv', 'post_quant_conv');
  for (const [side, blocks, count, widths] of [
    ['encoder', 'down', 2, VAE_WIDTHS], ['decoder', 'up', 3, VAE_WIDTHS.toReversed()],
  ] as const) {
    names.push(...under(side, both('conv_in', 'conv_out', 'conv_norm_out')));
    for (const [i, width] of widths.entries()) {
      for (const j of range(count)) {
        const shortcut = j === 0 && i > 0 && widths[i - 1] !== width;
        names.push(...under(`${side}.${blocks}_blocks.${i}.resnets.${j}`, resnet(shortcut)));
      }
      if (i < 3) names.push(...both(`${side}.${blocks}_blocks.${i}.${blocks}samplers.0.conv`));
    }
    for (const j of range(2)) names.push(...under(`${side}.mid_block.resnets.${j}`, resnet(false)));
    names.push(...under(`${side}.mid_block.attentions.0`, both('group_norm', 'to_q', 'to_k', 'to_v', 'to_out.0')));
  }
  return names;
}

function ldmVae(): string[] {
  const block = (shortcut: boolean) => (
    both('norm1', 'conv1', 'norm2', 'conv2', ...(shortcut ? ['nin_shortcut'] : []))
  );
  const names = both('quant_conv', 'post_quant_conv');
  for (const side of ['encoder', 'decoder']) {
    names.push(...under(side, both('conv_in', 'conv_out', 'norm_out')),
      ...under(`${side}.mid.block_1`, block(false)), ...under(`${side}.mid.block_2`, block(false)),
      ...under(`${side}.mid.attn_1`, both('norm', 'q', 'k', 'v', 'proj_out')));
  }
  for (const level of range(4)) {
    for (const j of range(2)) {
      names.push(...under(`encoder.down.${level}.block.${j}`, block(j === 0 && (level === 1 || level === 2))));
    }
    if (level !== 3) names.push(...both(`encoder.down.${level}.downsample.conv`));
    for (const j of range(3)) names.push(...under(`decoder.up.${level}.block.${j}`, block(j === 0 && level < 2)));
    if (level !== 0) names.push(...both(`decoder.up.${level}.upsample.conv`));
  }
  return names;
}

export function clipText(layers: number, projection = false): string[] {
  const layer = both('layer_norm1', 'layer_norm2', 'mlp.fc1', 'mlp.fc2',
    ...['q', 'k', 'v', 'out'].map((p) => `self_attn.${p}_proj`));
  return [
    'text_model.embeddings.token_embedding.weight', 'text_model.embeddings.position_embedding.weight',
    ...both('text_model.final_layer_norm'), ...(projection ? ['text_projection.weight'] : []),
    ...range(layers).flatMap((i) => under(`text_model.encoder.layers.${i}`, layer)),
  ];
}

function openClipText(layers: number): string[] {
  return [
    'positional_embedding', 'text_projection', 'logit_scale', 'token_embedding.weight', ...both('ln_final'),
    ...range(layers).flatMap((i) => under(`transformer.resblocks.${i}`, [
      'attn.in_proj_weight', 'attn.in_proj_bias', ...both('attn.out_proj', 'ln_1', 'ln_2', 'mlp.c_fc', 'mlp.c_proj'),
    ])),
  ];
}

/** The names in a single-file checkpoint, with what real files hold besides the weights. */
export function singleFile(family: 'sd1' | 'sd2' | 'sdxl'): string[] {
  const text = {
    sd1: under('cond_stage_model.transformer', [...clipText(12), 'text_model.embeddings.position_ids']),
    sd2: under('cond_stage_model.model', openClipText(24)),
    sdxl: [
      ...under('conditioner.embedders.0.transformer', [...clipText(12), 'text_model.embeddings.position_ids']),
      ...under('conditioner.embedders.1.model', openClipText(32)),
    ],
  }[family];
  return [
    ...under('model.diffusion_model', ldmUNet(UNETS[family])), ...under('first_stage_model', ldmVae()), ...text,
    'alphas_cumprod', 'betas', 'model_ema.decay', 'model_ema.diffusion_modelinput_blocks00weight', 'denoiser.sigmas',
    'first_stage_model.loss.logvar', 'first_stage_model.model_ema.decay',
  ];
}
