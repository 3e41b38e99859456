/** @file Rewards for simple properties of colour, averaged over the pixels. */
import { mul, sub } from '../graph/ops/arithmetic.js';
import { max, mean, min, sum } from '../graph/ops/reduce.js';
import { literal } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import { pixelReward } from './reward.js';
import type { DifferentiableReward } from './reward.js';

interface Property {
  formula: string;
  range: readonly [number, number];
  /** [B, 3, H, W] → [B, H, W] */
  pixels(images: Tensor): Tensor;
}

/** Rec. 601 luma. */
const LUMA = [0.299, 0.587, 0.114];

const weighted = (images: Tensor, weights: readonly number[]): Tensor =>
  sum(mul(images, literal(weights, [3, 1, 1])), { axes: [1] });

/** One channel minus the mean of the other two. */
function dominance(channel: number): Property {
  const rgb = ['R', 'G', 'B'];
  const [a, b] = rgb.filter((_, i) => i !== channel);
  return {
    formula: `${rgb[channel]} − (${a} + ${b})/2`,
    range: [-0.5, 0.5],
    pixels: (images) => weighted(images, rgb.map((_, i) => (i === channel ? 1 : -0.5))),
  };
}

export const COLOR_PROPERTIES = {
  red: dominance(0),
  green: dominance(1),
  blue: dominance(2),
  brightness: { formula: 'luma', range: [0, 1], pixels: (images) => weighted(images, LUMA) },
  darkness: {
    formula: '1 − luma',
    range: [0, 1],
    pixels: (images) => sub(1, weighted(images, LUMA)),
  },
  saturation: {
    formula: 'max(R, G, B) − min(R, G, B)',
    range: [0, 0.6],
    pixels: (images) => sub(max(images, { axes: [1] }), min(images, { axes: [1] })),
  },
} as const satisfies Record<string, Property>;

export type ColorProperty = keyof typeof COLOR_PROPERTIES;

/** The mean of one property over all pixels of [0, 1] channels. */
export function color(name: string, property: ColorProperty): DifferentiableReward {
  const { formula, range, pixels } = COLOR_PROPERTIES[property];
  return pixelReward({
    name,
    description: `mean over the pixels of ${formula}`,
    range,
    trace: (images) => mean(pixels(images), { axes: [1, 2] }),
  });
}
