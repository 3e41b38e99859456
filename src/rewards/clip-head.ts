/** @file A score read off CLIP's image embedding by a small trained head: style, aesthetics, quality. */
import { FormatError } from '../formats/errors.js';
import { openWeights } from '../formats/open-weights.js';
import { readAll } from '../formats/weights.js';
import type { HostTensor } from '../graph/dtype.js';
import { linear } from '../graph/ops/matmul.js';
import { reshape } from '../graph/ops/layout.js';
import { weight } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import { openClip } from './clip-folder.js';
import { fitSquareTorchvision } from './clip-pixels.js';
import type { DifferentiableReward } from './reward.js';

/** `weight` and `bias` of one affine map, or `layers.N.weight` and `layers.N.bias` of several. */
const KEY = /^(?:layers\.(\d+)\.)?(weight|bias)$/;

/** Names of the layers' prefixes in order, '' for a single one; checks that they lead from `width` numbers to one. */
function layersOf(tensors: ReadonlyMap<string, HostTensor>, width: number, where: string): string[] {
  const fail = (problem: string): never => {
    throw new FormatError(where, problem, 'A head holds "weight" [1, P] and "bias" [1], or pairs "layers.N.weight" and '
      + `"layers.N.bias", with P = ${width} for this CLIP model.`);
  };
  const numbers = new Map<string, number>();
  for (const name of tensors.keys()) {
    const match = KEY.exec(name) ?? fail(`has the unexpected tensor "${name.slice(0, 80)}"`);
    numbers.set(name.slice(0, -match[2]!.length), Number(match[1] ?? 0));
  }
  const prefixes = [...numbers.keys()].toSorted((a, b) => numbers.get(a)! - numbers.get(b)!);
  let size = width;
  for (const prefix of prefixes) {
    const shape = tensors.get(`${prefix}weight`)?.shape ?? [];
    const bias = tensors.get(`${prefix}bias`)?.shape ?? [];
    if (shape.length !== 2 || shape[1] !== size || bias.length !== 1 || bias[0] !== shape[0]) {
      const pair = `"${prefix}weight" [${shape.join(', ')}] and "${prefix}bias" [${bias.join(', ')}]`;
      fail(`has ${pair} where ${size} numbers come in`);
    }
    size = shape[0]!;
  }
  if (prefixes.length === 0 || size !== 1) fail(`yields ${prefixes.length && size} numbers, not one score`);
  return prefixes;
}

export interface ClipHeadOptions {
  readonly name: string;
  readonly description: string;
  readonly range: readonly [number, number];
  /** Folder of the CLIP model. */
  readonly clip: string;
  /** safetensors or PyTorch file of the head. */
  readonly head: string;
}

/**
 * w·e + b on the unit image embedding e, the affine maps one after the other without activation, as the LAION aesthetic
 * predictor has them (github.com/christophschuhmann/improved-aesthetic-predictor, whose files are read).
 */
export async function clipHead(options: ClipHeadOptions): Promise<DifferentiableReward> {
  const { name, description, range, clip: folder, head } = options;
  const clip = await openClip(folder, name, { tokenizer: null, fit: fitSquareTorchvision });
  const source = await openWeights(head);
  const tensors = await readAll(source, 'float32').finally(() => source.close());
  const layers = layersOf(tensors, clip.width, head);
  const inputs = new Map([...tensors].map(([key, t]) => [key, weight(`${name}/head.${key}`, t.shape)]));
  const apply = (e: Tensor): Tensor =>
    layers.reduce((x, layer) => linear(x, inputs.get(`${layer}weight`)!, inputs.get(`${layer}bias`)), e);
  return {
    name,
    description,
    range,
    differentiable: true,
    weights: new Map([...clip.weights, ...[...tensors].map(([key, t]) => [`${name}/head.${key}`, t] as const)]),
    trace: (images) => reshape(apply(clip.embedImages(images)), [images.shape[0]!]),
    feeds: async () => ({}),
    release: () => clip.release(),
  };
}
