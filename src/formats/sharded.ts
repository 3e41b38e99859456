/** @file The weights in a component's folder of a diffusers model: one safetensors file or several, by variant. */
import { access } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { FormatError, shown } from './errors.js';
import { isObject, readJsonFile } from './json.js';
import { openSafetensors } from './safetensors.js';
import { tensorInfo, type TensorInfo, type WeightSource } from './weights.js';

/** File names without variant: diffusers' for U-Net and VAE, transformers' for text and vision models. */
const BASES = ['diffusion_pytorch_model', 'model'];

const VARIANTS = ['', 'fp16', 'bf16'];

/**
 * Opens the weights of one component.
 * @param folder e.g. `<model>/unet`
 * @param variant 'fp16' or 'bf16' to insist on it; without it the plain file is preferred, then fp16, then bf16
 */
export async function openComponent(folder: string, variant?: string): Promise<WeightSource> {
  for (const tried of variant === undefined ? VARIANTS : [variant]) {
    const infix = tried && `.${tried}`;
    for (const base of BASES) {
      const single = join(folder, `${base}${infix}.safetensors`);
      if (await exists(single)) return openSafetensors(single);
      const index = join(folder, `${base}.safetensors.index${infix}.json`);
      if (await exists(index)) return openShards(folder, index);
    }
  }
  const wanted = variant === undefined ? '' : ` of the variant ${shown(variant)}`;
  throw new FormatError(folder, `holds no ${BASES.map((base) => `${base}.safetensors`).join(' or ')}${wanted}`,
    'Download the safetensors files of this component, or convert its .bin file to safetensors.');
}

function exists(path: string): Promise<boolean> {
  return access(path).then(() => true, () => false);
}

/** Opens the shards that an index file names. */
async function openShards(folder: string, index: string): Promise<WeightSource> {
  const { weight_map: map } = await readJsonFile(index);
  if (!isObject(map)) {
    throw new FormatError(index, '"weight_map" is missing or not an object', 'Download the index file again.');
  }
  const shards = new Map<string, WeightSource>();
  const close = async () => {
    await Promise.all([...shards.values()].map((shard) => shard.close()));
  };
  try {
    for (const file of Object.values(map)) {
      if (typeof file !== 'string' || !isPlainName(file)) {
        throw new FormatError(index, `"weight_map" names the file "${shown(String(file))}", not one beside it`,
          'The index is damaged or hostile: download it again from a source you trust.');
      }
      if (!shards.has(file)) shards.set(file, await openSafetensors(join(folder, file)));
    }
    const home = new Map<string, WeightSource>();
    for (const [file, shard] of shards) {
      for (const name of shard.tensors.keys()) {
        if (Object.hasOwn(map, name) && map[name] === file) home.set(name, shard);
      }
    }
    for (const [name, file] of Object.entries(map)) {
      if (!home.has(name)) {
        throw new FormatError(index, `says that "${shown(name)}" is in ${shown(String(file))}, but it is not`,
          'Index and shards are of different versions: download the folder again.');
      }
    }
    const tensors = new Map<string, TensorInfo>();
    for (const [name, shard] of home) tensors.set(name, shard.tensors.get(name)!);
    return {
      where: folder,
      metadata: {},
      tensors,
      read: async (name, as) => tensorInfo(folder, home, name).read(name, as),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Whether a name from an index is a safetensors file in the same folder and cannot be a path. */
function isPlainName(file: string): boolean {
  return /^[^/\\:\0]+\.safetensors$/.test(file) && basename(file) === file && !file.startsWith('.');
}
