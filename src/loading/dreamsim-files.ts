/**
 * @file DreamSim (Fu et al., arXiv 2306.09344): one or three vision transformers, tuned by LoRA on which pictures people
 * find alike; from the folders that dreamsim_*_checkpoint.zip of github.com/ssundaram21/dreamsim unpacks to.
 */
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { FormatError } from '../formats/errors.js';
import { withDreamSimLora } from '../formats/dreamsim-lora.js';
import { renamedSource } from '../formats/names/renamed-source.js';
import { timmVisionFrom } from '../formats/names/timm-vision.js';
import { openWeights } from '../formats/open-weights.js';
import { tensorInfo } from '../formats/weights.js';
import type { WeightSource } from '../formats/weights.js';
import type { HostTensor } from '../graph/dtype.js';
import { narrow, squeeze } from '../graph/ops/layout.js';
import { matmul } from '../graph/ops/matmul.js';
import { input } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import { deferred } from '../host/resources.js';
import { layerNorm } from '../nn/norm.js';
import { weightShapes } from '../nn/scope.js';
import type { Scope } from '../nn/scope.js';
import { readExact } from './read-exact.js';
import { timmVision } from '../models/timm-vision.js';
import type { TimmVisionConfig, TimmVisionVariant } from '../models/timm-vision.js';

interface BranchKind {
  /** File of the network before its LoRA. */
  readonly file: string;
  readonly remedy: string;
  /** By whose mean and deviation the pixels are normalised. */
  readonly pixels: 'imagenet' | 'clip';
  readonly variant: TimmVisionVariant;
  /** `class`: the class token after the last layer, not normed; `embedding`: normed and projected. */
  readonly output: 'class' | 'embedding';
}

const archive = (type: string): string => `Unpack dreamsim_${type}_checkpoint.zip of github.com/ssundaram21/dreamsim/releases here.`;
const dino: BranchKind = {
  file: 'dino_vitbase16_pretrain.pth', pixels: 'imagenet', variant: {}, output: 'class',
  remedy: 'Put dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth there: the archive does not hold it.',
};
const clip = (name: string, type: string, activation: 'gelu' | 'quick_gelu'): BranchKind => ({
  file: `${name}_pretrain.pth.tar`, pixels: 'clip', variant: { epsilon: 1e-5, activation, preNorm: true }, output: 'embedding', remedy: archive(type),
});

/** By the names of the package: branches in the order of the vector's parts, and the folder of their LoRA. */
const TYPES = {
  ensemble: { lora: 'ensemble_lora', branches: [dino, clip('clip_vitb16', 'ensemble', 'quick_gelu'), clip('open_clip_vitb16', 'ensemble', 'gelu')] },
  dino_vitb16: { lora: 'dino_vitb16_single_lora', branches: [dino] },
  clip_vitb32: { lora: 'clip_vitb32_single_lora', branches: [clip('clip_vitb32', 'clip_vitb32', 'quick_gelu')] },
  open_clip_vitb32: { lora: 'open_clip_vitb32_single_lora', branches: [clip('open_clip_vitb32', 'open_clip_vitb32', 'gelu')] },
} as const;
export type DreamSimType = keyof typeof TYPES;
export const DREAMSIM_TYPES = Object.keys(TYPES) as [DreamSimType, ...DreamSimType[]];

export interface DreamSimBranch {
  /** By whose mean and deviation its pixels are normalised. */
  readonly pixels: 'imagenet' | 'clip';
  readonly side: number;
  readonly weights: ReadonlyMap<string, HostTensor>;
  /** Normalised pixels [B, 3, side, side] → its part of the vector. */
  trace(scope: Scope, pixels: Tensor): Tensor;
}

/** Width of a head in all these transformers. */
const HEAD = 64;

/** A vision transformer's configuration, told by the shapes of its weights under our names. */
export function timmConfig({ where, tensors }: WeightSource): TimmVisionConfig {
  const size = (name: string, axis: number): number => tensorInfo(where, tensors, name).shape[axis] ?? 0;
  const [hidden, patch] = [size('patch_embedding.weight', 0), size('patch_embedding.weight', 2)];
  if (hidden % HEAD !== 0 || hidden === 0) throw new FormatError(where, `has layers of ${hidden} numbers, not of whole heads of ${HEAD}`, 'Give a published ViT-S, ViT-B or ViT-L.');
  return {
    image_size: patch * Math.floor(Math.sqrt(size('position_embedding', 1) - 1)), patch_size: patch, hidden_size: hidden,
    intermediate_size: size('encoder.layers.0.mlp.fc1.weight', 0), num_attention_heads: hidden / HEAD,
    num_hidden_layers: [...tensors.keys()].filter((name) => name.endsWith('.mlp.fc1.weight')).length,
  };
}

async function readBranch(folder: string, lora: string, { file, remedy, pixels, variant, output }: BranchKind, at: number): Promise<DreamSimBranch> {
  const path = join(folder, file);
  await access(path).catch((cause: unknown) => {
    throw new FormatError(path, 'is not there', remedy, { cause });
  });
  const opened = await openWeights(path);
  await using _ = deferred(() => opened.close());
  const source = renamedSource(await withDreamSimLora(opened, join(folder, lora), at), (key) => timmVisionFrom(key));
  const config = timmConfig(source);
  const trace = (scope: Scope, x: Tensor): Tensor => {
    const token = squeeze(narrow(timmVision(scope, config, x, variant), 1, 0, 1), 1);
    if (output === 'class') return token;
    const normed = layerNorm(scope.at('post_layernorm'), token, variant.epsilon ?? 1e-5);
    return matmul(normed, scope.weight('projection', tensorInfo(path, source.tensors, 'projection').shape));
  };
  const { image_size: side } = config;
  const shapes = weightShapes((scope) => trace(scope, input('x', [1, 3, side, side])));
  return { pixels, side, trace, weights: await readExact(source, shapes, remedy) };
}

/** @throws FormatError naming the file that is missing or wrong */
export async function readDreamSim(folder: string, type: DreamSimType): Promise<DreamSimBranch[]> {
  const { lora, branches } = TYPES[type];
  const read: DreamSimBranch[] = [];
  for (const [at, branch] of branches.entries()) read.push(await readBranch(folder, lora, branch, at));
  return read;
}
