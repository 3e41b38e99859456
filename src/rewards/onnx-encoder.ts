/** @file Any ONNX network as an image encoder: a backbone without its head, say. */
import { sizeOf } from '../graph/dtype.js';
import { OnnxError } from '../graph/onnx/error.js';
import { reshape } from '../graph/ops/layout.js';
import { mean } from '../graph/ops/reduce.js';
import type { ImageEncoder } from './image-encoder.js';
import { openOnnx, rowsOf } from './onnx-image.js';
import type { OnnxImageOptions } from './onnx-image.js';

/**
 * Its output as rows; of maps [B, C, h, w] and tokens [B, L, D] the mean over the positions.
 *
 * @throws as `openOnnx`; OnnxError for a network that gives less than two numbers for an image
 */
export async function onnxEncoder(label: string, options: Omit<OnnxImageOptions, 'tokenizer'>): Promise<ImageEncoder> {
  const { trace, weights } = await openOnnx(label, options, (outputs, count, layout) => {
    const rows = rowsOf(options, outputs, count);
    const positions = rows.shape.length === 4 ? (layout === 'nhwc' ? [1, 2] : [2, 3]) : rows.shape.length === 3 ? [1] : [];
    const pooled = positions.length === 0 ? rows : mean(rows, { axes: positions });
    const width = sizeOf(pooled.shape) / count;
    if (width < 2) throw new OnnxError(options.file, `gives one number for each image, which is no feature space: choose another output, or export the network without its head`);
    return reshape(pooled, [count, width]);
  });
  return { weights, embed: trace };
}
