/** @file The weights in a component's folder of a diffusers model: one file or several, by variant. */
import { basename, join } from 'node:path';
import { exists } from './exists.js';
import { FormatError, shown } from './errors.js';
import { isObject } from './json.js';
import { readJsonFile } from './json-file.js';
import { openWeights } from './open-weights.js';
import { tensorInfo, type TensorInfo, type WeightSource } from './weights.js';

/** File names without variant and ending: diffusers' for U-Net and VAE, transformers' for text and vision models. */
const KINDS = [
  { ending: 'safetensors', bases: ['diffusion_pytorch_model', 'model'] },
  // Of before safetensors; read only where there are no others.
  { ending: 'bin', bases: ['diffusion_pytorch_model', 'pytorch_model'] },
] as const;

const VARIANTS = ['', 'fp16', 'bf16'];

/**
 * Opens the weights of one component.
 * @param folder e.g. `<model>/unet`
 * @param variant 'fp16' or 'bf16' to insist on it; without it the plain file is preferred, then fp16, then bf16
 */
export async function openComponent(folder: string, variant?: string): Promise<WeightSource> {
  for (const { ending, bases } of KINDS) {
    for (const tried of variant === undefined ? VARIANTS : [variant]) {
      const infix = tried && `.${tried}`;
      for (const base of bases) {
        const single = join(folder, `${base}${infix}.${ending}`);
        if (await exists(single)) return openWeights(single);
        const index = join(folder, `${base}.${ending}.index${infix}.json`);
        if (await exists(index)) return openShards(folder, index, ending);
      }
    }
  }
  const wanted = variant === undefined ? '' : ` of the variant ${shown(variant)}`;
  const names = KINDS.flatMap(({ ending, bases }) => bases.map((base) => `${base}.${ending}`));
  throw new FormatError(folder, `holds no ${names.slice(0, -1).join(', ')} or ${names.at(-1)}${wanted}`,
    'Download the files of this component, best those in safetensors format.');
}

/** `<base>.safetensors` in `folder`, or where there is no such file, `<base>.bin`. */
export async function safetensorsOrBin(folder: string, name: string): Promise<string> {
  const [first, second] = [join(folder, name), join(folder, name.replace(/\.safetensors$/, '.bin'))];
  return (await exists(first)) || !(await exists(second)) ? first : second;
}

/** Opens the shards that an index file names. */
async function openShards(folder: string, index: string, ending: string): Promise<WeightSource> {
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
      if (typeof file !== 'string' || !isPlainName(file, ending)) {
        throw new FormatError(index, `"weight_map" names the file "${shown(String(file))}", not one beside it`,
          'The index is damaged or hostile: download it again from a source you trust.');
      }
      if (!shards.has(file)) shards.set(file, await openWeights(join(folder, file)));
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

/** Whether a name from an index is a file of that ending in the same folder and cannot be a path. */
function isPlainName(file: string, ending: string): boolean {
  return /^[^/\\:\0]+$/.test(file) && file.endsWith(`.${ending}`) && basename(file) === file && !file.startsWith('.');
}
