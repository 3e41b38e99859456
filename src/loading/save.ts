/** @file Writes a pipeline as a folder in diffusers layout. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { writeAtomic } from '../formats/atomic.js';
import { pythonJson } from '../formats/json.js';
import { readJsonFile } from '../formats/json-file.js';
import { MOST_BYTES, readWhole } from '../formats/whole-file.js';
import type { HostTensor, StoredType } from '../graph/dtype.js';
import { writeComponent } from './component-files.js';
import type { Component } from './component-files.js';
import { modelTypeOf } from '../models/components.js';
import type { ComponentClass } from '../models/components.js';
import { tokenizerPart } from './load-folder.js';
import type { Pipeline, TextEncoder } from '../models/pipeline.js';

/** Version of diffusers whose layout this is. */
const DIFFUSERS_VERSION = '0.30.0';

/**
 * Writes `model_index.json`, each component with its weights, the scheduler's configuration and the tokenizers.
 * `model_index.json` comes last: a folder without it is not complete.
 */
export async function savePipeline(folder: string, pipeline: Pipeline, dtype: StoredType = 'float16'): Promise<void> {
  const { family, denoiser, vae, textEncoders, scheduler } = pipeline;
  for (const { name, kind, config } of [{ name: family.denoiser.part, ...denoiser }, { name: 'vae', ...vae }, ...textEncoders]) {
    await writeComponent(join(folder, name), { kind, config, weights: weightsOf(pipeline, name) } as Component, dtype);
  }
  for (const encoder of textEncoders) await saveTokenizer(join(folder, tokenizerPart(encoder.name)), encoder);
  await writeAtomic(join(folder, 'scheduler', 'scheduler_config.json'), pythonJson(scheduler));
  await writeAtomic(join(folder, 'model_index.json'), modelIndex(pipeline));
}

/** What `model_index.json` needs to know of a pipeline. */
interface Indexed {
  readonly family: Pipeline['family'];
  readonly denoiser: Pipeline['denoiser'];
  readonly vae: Pick<Pipeline['vae'], 'kind'>;
  readonly textEncoders: readonly Pick<TextEncoder, 'name' | 'kind'>[];
  readonly scheduler: Pipeline['scheduler'];
  readonly zeroEmptyNegative?: boolean;
}

/** `model_index.json` of a pipeline in diffusers layout. */
export function modelIndex(pipeline: Indexed): string {
  const { family, denoiser, vae, textEncoders, scheduler, zeroEmptyNegative = false } = pipeline;
  const { _class_name: name, ...others } = family.folder.index(denoiser.config, zeroEmptyNegative);
  const entry = (kind: ComponentClass): [string, string] => [modelTypeOf(kind) === undefined ? 'diffusers' : 'transformers', kind];
  const index = {
    _class_name: name,
    _diffusers_version: DIFFUSERS_VERSION,
    feature_extractor: [null, null],
    ...others,
    scheduler: ['diffusers', scheduler['_class_name'] ?? 'DDIMScheduler'],
    [family.denoiser.part]: entry(denoiser.kind),
    vae: entry(vae.kind),
    ...Object.fromEntries(textEncoders.map(({ name, kind }) => [name, entry(kind)])),
    ...Object.fromEntries(textEncoders.map((encoder) => [tokenizerPart(encoder.name), ['transformers', 'CLIPTokenizer']])),
  };
  return pythonJson(index);
}

/** The weights of a part, without the part in their names. */
function weightsOf(pipeline: Pick<Pipeline, 'weights'>, part: string): Map<string, HostTensor> {
  const prefix = `${part}.`;
  const own = [...pipeline.weights].filter(([name]) => name.startsWith(prefix));
  return new Map(own.map(([name, value]) => [name.slice(prefix.length), value]));
}

const TOKENIZER_FILE = /^(merges\.txt|(vocab|tokenizer|tokenizer_config|special_tokens_map|added_tokens)\.json)$/;

/** Copies a tokenizer's files; what was overridden is written into its configuration. */
async function saveTokenizer(folder: string, { tokenizerFiles, tokenizer }: TextEncoder): Promise<void> {
  const { folder: from, overrides } = tokenizerFiles;
  const names = (await readdir(from)).filter((name) => TOKENIZER_FILE.test(name));
  for (const name of names) await writeAtomic(join(folder, name), await readWhole(join(from, name), MOST_BYTES.json));
  if (overrides.pad === undefined) return;
  for (const name of ['tokenizer_config.json', 'special_tokens_map.json']) {
    const old = names.includes(name) ? await readJsonFile(join(from, name)) : { model_max_length: tokenizer.maxLength };
    await writeAtomic(join(folder, name), pythonJson({ ...old, pad_token: overrides.pad }));
  }
}
