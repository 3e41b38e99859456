/**
 * @file `bench rewards [--images N] [--threads N] [--only NAME]`: the image encoders of the published rewards at full size with
 * random weights, a score of each image forward and with its gradient by the pixels: time and memory for an image, and the ratio
 * to PyTorch. Each in a process of its own, ours and PyTorch's one after the other.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { host, sizeOf } from '../src/graph/dtype.js';
import type { HostTensor, Shape } from '../src/graph/dtype.js';
import { grad } from '../src/graph/grad.js';
import { mean, sum } from '../src/graph/ops/reduce.js';
import { input } from '../src/graph/tensor.js';
import type { Tensor } from '../src/graph/tensor.js';
import { peakBytes, resetPeak } from '../src/machine/memory.js';
import { visionScore } from '../src/models/clip.js';
import { componentSchema } from '../src/models/components.js';
import { parseConfig } from '../src/models/config.js';
import { timmVision } from '../src/models/timm-vision.js';
import { frozenWeights, rootScope, weightShapes } from '../src/nn/scope.js';
import type { Scope } from '../src/nn/scope.js';
import { compile } from '../src/runtime/compile.js';

const PYTHON = process.env['ATTUNE_PYTHON'] ?? 'python3';
/** The script lies beside the sources: this file runs from dist-bench/bench. */
const REFERENCE = fileURLToPath(new URL('../../bench/reference_rewards.py', import.meta.url));
const MAIN = fileURLToPath(new URL('main.js', import.meta.url));

/** Layers, width, heads and patch of transformers at 224 x 224; the rewards that have them. */
const ENCODERS = {
  'clip-b32': { of: 'CLIP ViT-B/32: clip-score', sizes: [12, 768, 12, 32], dino: false },
  'dino-b16': { of: 'DINO ViT-B/16: dino, dreamsim', sizes: [12, 768, 12, 16], dino: true },
  'clip-l14': { of: 'CLIP ViT-L/14: aesthetic', sizes: [24, 1024, 16, 14], dino: false },
  'clip-h14': { of: 'CLIP ViT-H/14: pickscore, hpsv2', sizes: [32, 1280, 16, 14], dino: false },
} as const;
type Name = keyof typeof ENCODERS;
const RUNS = 3;

interface Figures {
  /** Milliseconds of the processor for an image, best of some: forward, and with gradient. */
  readonly forward: number;
  readonly gradient: number;
  /** Bytes resident at most, weights included. */
  readonly peak: number;
}

/** [B, 3, 224, 224] → [B]. */
function scoreOf(name: Name, scope: Scope, pixels: Tensor): Tensor {
  const { sizes: [layers, width, heads, patch], dino } = ENCODERS[name];
  const config = {
    image_size: 224, patch_size: patch, hidden_size: width, intermediate_size: 4 * width, num_hidden_layers: layers, num_attention_heads: heads,
  };
  if (dino) return mean(timmVision(scope, config, pixels), { axes: [1, 2] });
  const whole = { ...config, hidden_act: 'gelu', projection_dim: 1, model_type: 'clip_vision_model' };
  return visionScore(scope, parseConfig(componentSchema('CLIPVisionModelWithProjection'), whole, name) as never, pixels);
}

/** Numbers that keep activations finite; norms' weights are 1, biases 0. */
function numbers(shape: Shape, name: string): HostTensor {
  const data = new Float32Array(sizeOf(shape));
  if (shape.length === 1 && !name.includes('embedding')) return host(data.fill(name.endsWith('weight') ? 1 : 0), shape);
  const scale = Math.sqrt(3 / Math.max(1, sizeOf(shape.slice(1))));
  let state = 1;
  for (let i = 0; i < data.length; i++) {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    data[i] = scale * (state / 0x40000000 - 1);
  }
  return host(data, shape);
}

async function measure(name: Name, images: number, threads: number): Promise<Figures> {
  const pixels = input('pixels', [images, 3, 224, 224]);
  const weights = new Map([...weightShapes((scope) => scoreOf(name, scope, pixels))].map(([key, shape]) => [key, numbers(shape, key)]));
  const score = scoreOf(name, rootScope(frozenWeights()), pixels);
  const feeds = { pixels: host(Float32Array.from({ length: sizeOf(pixels.shape) }, (_, i) => (i % 251) / 251), pixels.shape) };
  const best = async (outputs: Readonly<Record<string, Tensor>>): Promise<number> => {
    const executable = await compile({ outputs }, { weights, threads });
    let least = Infinity;
    for (let run = 0; run <= RUNS; run++) {
      const from = process.cpuUsage();
      await executable.run(feeds);
      const { user, system } = process.cpuUsage(from);
      if (run > 0) least = Math.min(least, (user + system) / 1000 / images);
    }
    await executable.release();
    return least;
  };
  await resetPeak();
  const forward = await best({ score });
  const gradient = await best({ score, gradient: grad(sum(score), [pixels])[0]! });
  return { forward, gradient, peak: peakBytes() };
}

/** What a process prints last; null if it cannot be run. */
function figuresOf(command: string, args: readonly string[]): Figures | null {
  const { stdout, stderr, status } = spawnSync(command, args, { encoding: 'utf8' });
  if (status === 0) return JSON.parse(stdout.trim().split('\n').at(-1)!) as Figures;
  console.error(stderr?.trim().split('\n').slice(-3).join('\n') ?? `${command} cannot be started`);
  return null;
}

export async function benchRewards(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args], options: { part: { type: 'string' }, only: { type: 'string' }, images: { type: 'string', default: '1' }, threads: { type: 'string', default: '1' } },
  });
  const [images, threads] = [Number(values.images), Number(values.threads)];
  if (values.part !== undefined) {
    console.log(JSON.stringify(await measure(values.part as Name, images, threads)));
    return;
  }
  console.log(`${images} images at 224 x 224, ${threads} threads; ms of the processor for an image, best of ${RUNS}; in brackets the share of PyTorch's\n`);
  console.log('| encoder | forward | with gradient | peak GiB |\n|---|---|---|---|');
  for (const name of (values.only === undefined ? Object.keys(ENCODERS) : [values.only]) as Name[]) {
    const ours = figuresOf(process.execPath, [MAIN, 'rewards', '--part', name, '--images', String(images), '--threads', String(threads)]);
    const theirs = figuresOf(PYTHON, [REFERENCE, ...ENCODERS[name].sizes.map(String), ENCODERS[name].dino ? 'dino' : 'clip', String(images), String(threads), String(RUNS)]);
    if (!ours) continue;
    const cell = (key: keyof Figures, shown: (x: number) => string): string => `${shown(ours[key])}${theirs ? ` (${(ours[key] / theirs[key]).toFixed(2)})` : ''}`;
    console.log(`| ${ENCODERS[name].of} | ${cell('forward', (x) => x.toFixed(0))} | ${cell('gradient', (x) => x.toFixed(0))} | ${cell('peak', (x) => (x / 2 ** 30).toFixed(2))} |`);
  }
}
