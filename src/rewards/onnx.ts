/** @file The score of any ONNX model, differentiable: a regressor's number, a classifier's class, a CLIP's cosine. */
import { CLIP_EMBEDDINGS } from '../formats/names/onnx.js';
import { OnnxError } from '../graph/onnx/error.js';
import { div, mul } from '../graph/ops/arithmetic.js';
import { narrow, reshape } from '../graph/ops/layout.js';
import { norm, sum } from '../graph/ops/reduce.js';
import type { Tensor } from '../graph/tensor.js';
import { openOnnx, rowsOf } from './onnx-image.js';
import type { OnnxImageOptions, Outputs } from './onnx-image.js';
import type { DifferentiableReward } from './reward.js';

export interface OnnxRewardOptions extends OnnxImageOptions {
  /** Which number of the output's row; only where it has several. */
  readonly index?: number | undefined;
}

/** The numbers of a model's output that are the scores of its `count` images: [count]. */
function pickScore({ file, output, index }: OnnxRewardOptions, outputs: Outputs, count: number): Tensor {
  const [image, text] = CLIP_EMBEDDINGS.map((name) => outputs[name]);
  if (output === undefined && image && text) {
    const product = sum(mul(image, text), { axes: [1] });
    return div(product, mul(norm(image, { axes: [1] }), norm(text, { axes: [1] })));
  }
  const chosen = rowsOf({ file, output }, outputs, count);
  const columns = chosen.shape.reduce((a, b) => a * b, 1) / count;
  if (columns > 1 && index === undefined) {
    throw new OnnxError(file, `gives ${columns} numbers for each image: choose one with the option index, from 0`);
  }
  const at = index ?? 0;
  if (!Number.isInteger(at) || at < 0 || at >= columns) {
    throw new OnnxError(file, `gives ${columns} numbers for each image: index ${index} is none of them`);
  }
  return reshape(narrow(reshape(chosen, [count, columns]), 1, at, at + 1), [count]);
}

/** score(image, prompt) of a model in a file. @throws as `openOnnx` */
export async function onnxReward(name: string, options: OnnxRewardOptions): Promise<DifferentiableReward> {
  const { shape, ...network } = await openOnnx(name, options, (outputs, count) => pickScore(options, outputs, count));
  return {
    name,
    description: `score of the ONNX model ${options.file} on ${shape}, pixels ${options.pixels}`,
    range: [0, 1],
    differentiable: true,
    ...network,
  };
}
