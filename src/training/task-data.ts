/** @file Pictures from files as samples that methods can learn from: read, resized, encoded by the pipeline's VAE. */
import type { HostTensor } from '../graph/dtype.js';
import { input } from '../graph/tensor.js';
import type { TaskData, TaskExecutable } from '../methods/task.js';
import { encodeImages } from '../models/latents.js';
import { vaeScope } from '../models/pipeline.js';
import type { Pipeline } from '../models/pipeline.js';
import { frozenWeights } from '../nn/scope.js';
import { uniform } from '../random/random.js';
import { checkPrompts } from '../sampling/check-prompts.js';
import { readPairs, readPictures } from './image-pairs.js';
import { loadDataset, pickCaption, pictures } from './pretrain/dataset.js';

export interface TaskDataOptions {
  /** Pictures that the encoder holds at once. */
  microbatch: number;
  seed: number;
  /** Side of the pictures in pixels. */
  size: number;
  /** Told of captions that are cut and files that are passed over. */
  warn?: (text: string) => void;
  /** Compiles a graph over the pipeline's weights. */
  compile(outputs: { latents: ReturnType<typeof input> }): Promise<TaskExecutable<'latents'>>;
}

/** Compiles the encoder when it is first needed. */
export function openTaskData(pipeline: Pipeline, options: TaskDataOptions): { data: TaskData; release(): Promise<void> } {
  const { microbatch, seed, size, warn = () => {} } = options;
  let encoder: Promise<TaskExecutable<'latents'>> | null = null;

  /** Pictures [N, 3, S, S] in [0, 1] → the means of their latents [N, C, h, w]. */
  async function encode(images: HostTensor): Promise<HostTensor> {
    const pixels = input('pixels', [microbatch, 3, size, size]);
    encoder ??= options.compile({ latents: encodeImages(vaeScope(pipeline, frozenWeights()), pipeline.vae, pixels).mean });
    return (await (await encoder).run({ pixels: images }, new Array<string>(images.shape[0]!).fill(''))).latents;
  }

  return {
    data: {
      async pictures(path) {
        const dataset = await loadDataset(path, size, { onWarning: warn });
        const draw = (i: number): number => uniform({ seed, stream: 'captions', step: 0 }, i, 1)[0]!;
        const prompts = dataset.records.map((record, i) => pickCaption(record, draw(i)));
        checkPrompts(pipeline, prompts, warn);
        return {
          prompts,
          samples: (indices) => encode(pictures(dataset, indices)),
        };
      },
      async pairs(path) {
        const pairs = await readPairs(path);
        checkPrompts(pipeline, pairs.map((pair) => pair.prompt), warn);
        const samples = async (indices: readonly number[], side: 'winner' | 'loser'): Promise<HostTensor> =>
          encode(await readPictures(indices.map((i) => pairs[i]![side]), size));
        return {
          prompts: pairs.map((pair) => pair.prompt),
          samples: async (indices) => ({ winners: await samples(indices, 'winner'), losers: await samples(indices, 'loser') }),
        };
      },
    },
    release: async () => (await encoder?.catch(() => null))?.release(),
  };
}
