/** @file Small LoRAs for the tests. */
import { join } from 'node:path';
import { expect } from 'vitest';
import { fromFloat32, sizeOf, toFloat32, type HostTensor } from '../../src/graph/dtype.js';
import { readLora, type LoraReading } from '../../src/formats/lora-file.js';
import { scaleOf, type LoraFile, type LoraLayer } from '../../src/formats/lora.js';
import { writeSafetensors } from '../../src/formats/safetensors.js';
import { tensor } from './helpers.js';

export const ATTN = 'down_blocks.0.attentions.0.transformer_blocks.0';
export const TEXT = 'text_model.encoder.layers.0';
export const Q = `unet.${ATTN}.attn1.to_q`;

export function layer(inputs: number, outputs: number, rank: number, alpha: number, seed: number): LoraLayer {
  return { down: tensor([rank, inputs], seed), up: tensor([outputs, rank], seed + 100), alpha };
}

/** A LoRA with layers of all kinds; `uniform`: of one rank and scale 1. */
export function sample(family: 'sd1' | 'sd2' | 'sdxl' = 'sd1', uniform = false): LoraFile {
  const width = { sd1: 768, sd2: 1024, sdxl: 2048 }[family];
  const rank = (r: number) => (uniform ? 4 : r);
  const alpha = (a: number) => (uniform ? 4 : a);
  const conv = { down: tensor([rank(2), 8, 3, 3], 5), up: tensor([8, rank(2), 1, 1], 6), alpha: alpha(1.5) };
  const layers = new Map<string, LoraLayer>([
    [Q, layer(8, 8, 4, 4, 1)],
    [`unet.${ATTN}.attn1.to_out.0`, layer(8, 8, 4, alpha(2), 2)],
    [`unet.${ATTN}.attn2.to_k`, layer(width, 8, 4, 4, 3)],
    [`unet.${ATTN}.ff.net.0.proj`, layer(8, 64, rank(8), 4, 4)],
    ['unet.mid_block.resnets.1.conv2', conv],
    [`text_encoder.${TEXT}.self_attn.out_proj`, layer(8, 8, 4, 4, 7)],
    [`text_encoder.${TEXT}.mlp.fc1`, { ...layer(8, 32, 4, 4, 8), down: half(tensor([4, 8], 8)) }],
  ]);
  if (family === 'sdxl') layers.set(`text_encoder_2.${TEXT}.self_attn.q_proj`, layer(8, 8, 4, 4, 9));
  return { baseModel: family, layers, metadata: { 'attune.method': 'draft', ss_seed: '7' } };
}

function half(full: HostTensor): HostTensor {
  return fromFloat32(toFloat32(full), full.shape, 'float16');
}

/** ΔW of a layer: alpha / r · up · down. */
function change(layer: LoraLayer): number[] {
  const [up, down, scale] = [toFloat32(layer.up), toFloat32(layer.down), scaleOf(layer)];
  const [rank, out, inner] = [layer.down.shape[0]!, layer.up.shape[0]!, sizeOf(layer.down.shape.slice(1))];
  return Array.from({ length: out * inner }, (_, i) => {
    let sum = 0;
    for (let r = 0; r < rank; r++) sum += up[Math.floor(i / inner) * rank + r]! * down[r * inner + (i % inner)]!;
    return scale * sum;
  });
}

/** Expects that two LoRAs do the same, whatever their ranks and alphas. */
export function expectSameEffect(actual: LoraFile, wanted: LoraFile, tolerance = 1e-6): void {
  expect([...actual.layers.keys()].sort()).toEqual([...wanted.layers.keys()].sort());
  for (const [module, layer] of wanted.layers) {
    const found = actual.layers.get(module)!;
    expect([found.down.dtype, found.down.shape.slice(1)], module).toEqual([layer.down.dtype, layer.down.shape.slice(1)]);
    const [a, b] = [change(found), change(layer)];
    expect(b.every((v, i) => Math.abs(v - a[i]!) <= tolerance), module).toBe(true);
  }
}

/** The matrices of one layer by their keys. */
export function pair(down: string, up: string): Record<string, HostTensor> {
  return { [down]: tensor([4, 8], 1), [up]: tensor([8, 4], 2) };
}

/** Writes tensors by key and reads them as a LoRA. */
export async function readKeys(
  folder: string, name: string, tensors: Record<string, HostTensor>, metadata: Record<string, string> = {},
): Promise<LoraReading> {
  const path = join(folder, `${name}.safetensors`);
  await writeSafetensors(path, Object.entries(tensors), metadata);
  return readLora(path);
}
