/** @file The LoRA of a DreamSim checkpoint, which PEFT wrote for all its branches together, added to a branch's weights. */
import { join } from 'node:path';
import { z } from 'zod';
import { arrayType } from '../graph/dtype.js';
import { deferred } from '../host/resources.js';
import { FormatError } from './errors.js';
import { readJsonFile } from './json-file.js';
import { openWeights } from './open-weights.js';
import { safetensorsOrBin } from './sharded.js';
import type { WeightSource } from './weights.js';

const configSchema = z.object({ r: z.int().positive(), lora_alpha: z.number(), use_rslora: z.literal(false).optional(), use_dora: z.literal(false).optional() });
const KEY = /extractor_list\.(\d+)\.model\.(.+)\.lora_([AB])\.(?:default\.)?weight$/;

/** W + (alpha/r)·B·A for the branch's layers that the folder's adapter has; all else as in `source`. */
export async function withDreamSimLora(source: WeightSource, folder: string, branch: number): Promise<WeightSource> {
  const where = join(folder, 'adapter_config.json');
  const config = configSchema.safeParse(await readJsonFile(where));
  if (!config.success) throw new FormatError(where, 'is not the configuration of a plain LoRA', 'Unpack the archive of DreamSim again.');
  const file = await openWeights(await safetensorsOrBin(folder, 'adapter_model.safetensors'));
  await using _ = deferred(() => file.close());
  const pairs = new Map<string, { A?: Float32Array; B?: Float32Array }>();
  for (const name of file.tensors.keys()) {
    const [, at, path, side] = KEY.exec(name) ?? [];
    if (Number(at) !== branch) continue;
    const pair = pairs.get(`${path}.weight`) ?? {};
    pair[side as 'A' | 'B'] = (await file.read(name, 'float32')).data as Float32Array;
    pairs.set(`${path}.weight`, pair);
  }
  if (pairs.size === 0) throw new FormatError(file.where, `has no LoRA for branch ${branch}`, 'Give the folder of the checkpoint as DreamSim publishes it.');
  const { r, lora_alpha: alpha } = config.data;
  return {
    ...source,
    async read(name, as) {
      const plain = await source.read(name, as);
      const { A, B } = pairs.get(name) ?? {};
      if (!A || !B) return plain;
      const [out, width] = [plain.shape[0]!, plain.data.length / plain.shape[0]!];
      if (B.length !== out * r || A.length !== r * width) throw new FormatError(file.where, `does not fit the weights "${name}" of ${source.where}`, 'Take both from one archive.');
      const sum = new (arrayType(plain.dtype))(plain.data.length);
      for (let i = 0; i < out; i++) {
        for (let j = 0; j < width; j++) {
          let added = 0;
          for (let k = 0; k < r; k++) added += B[i * r + k]! * A[k * width + j]!;
          sum[i * width + j] = Number(plain.data[i * width + j]) + (alpha / r) * added;
        }
      }
      return { ...plain, data: sum };
    },
  };
}
