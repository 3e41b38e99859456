import { readFile } from 'node:fs/promises';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { detectSingleFile, singleFileComponent } from '../../src/formats/names/single-file.js';
import type { SingleFilePart } from '../../src/formats/names/single-file.js';
import type { WeightSource } from '../../src/formats/weights.js';
import { componentSchema, componentShapes } from '../../src/models/components.js';
import { parseConfig } from '../../src/models/config.js';
import { familyOfNames } from '../../src/models/families/registry.js';
import { partsOf } from '../../src/loading/load-folder.js';

/** Names and shapes of the full-size models as diffusers makes them: component → name → shape. */
async function publishedKeys(name: string): Promise<Record<string, Record<string, number[]>>> {
  const file = await readFile(new URL(`../fixtures/keys_${name}.json.gz`, import.meta.url));
  return JSON.parse(gunzipSync(file).toString()) as Record<string, Record<string, number[]>>;
}

const FILES = { sd1: 'sd15', sd2: 'sd21', sdxl: 'sdxl' } as const;

describe.each(['sd1', 'sd2', 'sdxl'] as const)('the published model of %s', (family) => {
  const record = familyOfNames(family);
  const { configs } = record.singleFile!.published!;
  const shapesOf = (part: string): [string, readonly number[]][] => {
    const kind = partsOf(record).get(part)![0]!;
    const config = parseConfig(componentSchema(kind), configs[part], part);
    return [...componentShapes(kind, config)].toSorted();
  };

  test.each(Object.keys(configs))('has the weights of the reference in its %s', async (part) => {
    const keys = (await publishedKeys(FILES[family]))[part]!;
    const names = Object.keys(keys).filter((name) => !name.endsWith('position_ids'));
    // transformers 5 leaves a level out of the names that published files have.
    const bare = (name: string): boolean => part.startsWith('text') && !name.startsWith('text_');
    const full = (name: string): string => (bare(name) ? `text_model.${name}` : name);
    expect(shapesOf(part)).toEqual(names.map((name) => [full(name), keys[name]]).toSorted());
  });

  test('has the weights of a single file with the original names', async () => {
    const { single_file: keys } = await publishedKeys(FILES[family]);
    const tensors = new Map(Object.entries(keys!).map(([name, shape]) => [name, { dtype: 'float32' as const, shape }]));
    const read = (): Promise<never> => Promise.reject(new Error('nothing is to be read'));
    const source: WeightSource = { where: 'file', metadata: {}, tensors, read, close: async () => {} };
    expect(detectSingleFile(source)).toEqual({ family, inChannels: 4, zeroTerminalSnr: false });
    for (const part of Object.keys(configs) as SingleFilePart[]) {
      const found = [...singleFileComponent(source, family, part).tensors].map(([name, { shape }]) => [name, shape]);
      expect(found.toSorted(), part).toEqual(shapesOf(part));
    }
  });
});
