/** @file What may happen to a picture without changing what it shows: a reward that means it hardly minds. */
import { blurred, resizeImage, throughJpeg } from '../../formats/image.js';
import { host } from '../../graph/dtype.js';
import type { HostTensor } from '../../graph/dtype.js';
import { normal } from '../../random/random.js';

export interface Disturbance {
  readonly name: string;
  /** What is done, for people. */
  readonly what: string;
  /** @param image float32 [3, H, W] in [0, 1] @param item its number, which its noise is made from */
  readonly apply: (image: HostTensor, item: number) => HostTensor | Promise<HostTensor>;
}

const clamped = (x: number): number => Math.min(1, Math.max(0, x));
const sides = ({ shape }: HostTensor): [height: number, width: number] => [shape[1]!, shape[2]!];
const share = (side: number, part: number): number => Math.max(1, Math.round(side * part));

function halfAndBack(image: HostTensor): HostTensor {
  const [height, width] = sides(image);
  return resizeImage(resizeImage(image, share(width, 0.5), share(height, 0.5)), width, height);
}

/** The middle, enlarged to the whole. */
function cropped(image: HostTensor, part: number): HostTensor {
  const [height, width] = sides(image);
  const [h, w] = [share(height, part), share(width, part)];
  const [top, left] = [Math.floor((height - h) / 2), Math.floor((width - w) / 2)];
  const from = image.data as Float32Array;
  const data = new Float32Array(3 * h * w);
  for (let i = 0; i < data.length; i++) {
    const [c, y, x] = [Math.floor(i / (h * w)), Math.floor(i / w) % h, i % w];
    data[i] = from[(c * height + top + y) * width + left + x]!;
  }
  return resizeImage(host(data, [3, h, w]), width, height);
}

function noisy(image: HostTensor, deviation: number, item: number): HostTensor {
  const z = normal({ seed: 0, stream: 'reward check', step: 0 }, item, image.data.length);
  return host(Float32Array.from(image.data as Float32Array, (v, i) => clamped(v + deviation * z[i]!)), image.shape);
}

/** Rec. 709's luma is kept. @param factor 0: grey, 1: as it is */
function saturated(image: HostTensor, factor: number): HostTensor {
  const from = image.data as Float32Array;
  const plane = from.length / 3;
  const grey = (i: number): number => 0.2126 * from[i]! + 0.7152 * from[plane + i]! + 0.0722 * from[2 * plane + i]!;
  return host(Float32Array.from(from, (v, i) => clamped(grey(i % plane) + factor * (v - grey(i % plane)))), image.shape);
}

export const DISTURBANCES: readonly Disturbance[] = [
  { name: 'resize', what: 'to half the size and back (Lanczos)', apply: halfAndBack },
  { name: 'crop', what: 'the middle nine tenths, enlarged', apply: (image) => cropped(image, 0.9) },
  { name: 'JPEG', what: 'of quality 75', apply: (image) => throughJpeg(image, 75) },
  { name: 'strong JPEG', what: 'of quality 25', apply: (image) => throughJpeg(image, 25) },
  { name: 'noise', what: 'normal, deviation 0.03', apply: (image, item) => noisy(image, 0.03, item) },
  { name: 'blur', what: 'Gaussian, deviation 1 pixel', apply: (image) => blurred(image, 1) },
  { name: 'less colour', what: 'half the saturation', apply: (image) => saturated(image, 0.5) },
  { name: 'more colour', what: '1.5 times the saturation', apply: (image) => saturated(image, 1.5) },
];
