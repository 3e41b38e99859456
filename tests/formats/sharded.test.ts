import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { readLora } from '../../src/formats/lora-file.js';
import { openWeights } from '../../src/formats/open-weights.js';
import { writeSafetensors } from '../../src/formats/safetensors.js';
import { openComponent } from '../../src/formats/sharded.js';
import { readAll } from '../../src/formats/weights.js';
import { plain, scratch, stateFile, tensor } from './helpers.js';

const root = scratch();

function folder(name: string): string {
  const path = join(root, name);
  mkdirSync(path);
  return path;
}

async function shards(path: string, infix = ''): Promise<string[]> {
  const names = [1, 2].map((n) => `diffusion_pytorch_model${infix}-0000${n}-of-00002.safetensors`);
  await writeSafetensors(join(path, names[0]!), [['a', tensor([2], 1)], ['extra', tensor([1], 9)]]);
  await writeSafetensors(join(path, names[1]!), [['b', tensor([3], 2)]]);
  return names;
}

function writeIndex(path: string, map: unknown, name = 'diffusion_pytorch_model.safetensors.index.json'): void {
  writeFileSync(join(path, name), JSON.stringify({ metadata: { total_size: 20 }, weight_map: map }));
}

it('prefers the plain file, then fp16, then bf16, and obeys a wish', async () => {
  const path = folder('variants');
  const first = async (variant?: string) => {
    const source = await openComponent(path, variant);
    await source.close();
    return [...source.tensors.keys()][0];
  };
  await expect(first()).rejects.toThrow(/variants: holds no diffusion_pytorch_model.safetensors, model.saf.* or pytorch_model.bin\./);
  writeFileSync(join(path, 'pytorch_model.fp16.bin'), stateFile([['bin', tensor([1])]]));
  expect(await first()).toBe('bin');
  await writeSafetensors(join(path, 'model.bf16.safetensors'), [['bf16', tensor([1])]]);
  expect(await first()).toBe('bf16');
  await writeSafetensors(join(path, 'model.fp16.safetensors'), [['fp16', tensor([1])]]);
  expect(await first()).toBe('fp16');
  await writeSafetensors(join(path, 'model.safetensors'), [['plain', tensor([1])]]);
  expect(await first()).toBe('plain');
  expect(await first('bf16')).toBe('bf16');
  await expect(first('fp8')).rejects.toThrow(/of the variant fp8/);
});

it('reads shards as one, also those a cache links to', async () => {
  const path = folder('sharded');
  const [one, two] = await shards(path, '.fp16') as [string, string];
  const cache = folder('cached');
  for (const name of [one, two]) symlinkSync(join(path, name), join(cache, name));
  writeIndex(cache, { a: one, b: two }, 'diffusion_pytorch_model.safetensors.index.fp16.json');
  const source = await openComponent(cache);
  const all = await readAll(source, 'float32');
  await expect(source.read('extra')).rejects.toThrow(/cached: has no tensor "extra"/);
  await source.close();
  expect([...all.keys()]).toEqual(['a', 'b']);
  expect(plain(all.get('b')!)).toEqual(plain(tensor([3], 2)));
});

it('reads shards of PyTorch files, and passes them over beside safetensors', async () => {
  const path = folder('bin shards');
  const names = [1, 2].map((n) => `pytorch_model-0000${n}-of-00002.bin`) as [string, string];
  writeFileSync(join(path, names[0]), stateFile([['a', tensor([2], 1)]]));
  writeFileSync(join(path, names[1]), stateFile([['b', tensor([3, 2], 2)]]));
  writeIndex(path, { a: names[0], b: names[1] }, 'pytorch_model.bin.index.json');
  const source = await openComponent(path);
  const all = await readAll(source);
  await source.close();
  expect(plain(all.get('b')!)).toEqual(plain(tensor([3, 2], 2)));
  writeIndex(path, { a: 'x.safetensors' }, 'pytorch_model.bin.index.json');
  await expect(openComponent(path)).rejects.toThrow(/not one beside it/);
  await writeSafetensors(join(path, 'model.safetensors'), [['plain', tensor([1])]]);
  const newer = await openComponent(path);
  await newer.close();
  expect([...newer.tensors.keys()]).toEqual(['plain']);
});

it.each<[string, (names: string[]) => unknown, RegExp]>([
  ['a path', () => ({ a: '../sharded/x.safetensors' }), /names the file "..\/sharded\/x.safetensors", not one beside/],
  ['an absolute path', () => ({ a: '/etc/x.safetensors' }), /not one beside it/],
  ['a Windows path', () => ({ a: '..\\x.safetensors' }), /not one beside it/],
  ['a drive', () => ({ a: 'c:x.safetensors' }), /not one beside it/],
  ['another kind', () => ({ a: 'evil.bin' }), /not one beside it/],
  ['no text', () => ({ a: 3 }), /not one beside it/],
  ['a missing shard', () => ({ a: 'gone.safetensors' }), /gone.safetensors: cannot be opened/],
  ['a tensor in the wrong shard', ([one, two]) => ({ a: two, b: one }), /says that "a" is in .*, but it is not/],
  ['no map', () => [], /"weight_map" is missing/],
])('refuses an index with %s', async (name, map, reason) => {
  const path = folder(`index ${name}`);
  writeIndex(path, map(await shards(path)));
  await expect(openComponent(path)).rejects.toThrow(reason);
});

it('refuses an index that is not JSON', async () => {
  const path = folder('broken');
  writeFileSync(join(path, 'model.safetensors.index.json'), '{"weight_map": {');
  await expect(openComponent(path)).rejects.toThrow(/index.json: is not valid JSON/);
});

it('tells weight files apart by content', async () => {
  const path = join(root, 'model.bin');
  await writeSafetensors(path, [['a', tensor([2])]]);
  const source = await openWeights(path);
  expect([...source.tensors.keys()]).toEqual(['a']);
  await source.close();
  writeFileSync(path, 'PK\x03\x04 and no more');
  await expect(openWeights(path)).rejects.toThrow(/model.bin: is a damaged zip archive/);
});

it('reads LoRAs whose folder has PyTorch files only', async () => {
  const peft = new URL('../fixtures/lora_sd1_peft', import.meta.url).pathname;
  const source = await openWeights(join(peft, 'adapter_model.safetensors'));
  const tensors = await readAll(source);
  await source.close();
  const expected = await readLora(peft);
  const path = folder('adapter');
  copyFileSync(join(peft, 'adapter_config.json'), join(path, 'adapter_config.json'));
  writeFileSync(join(path, 'adapter_model.bin'), stateFile(tensors));
  expect((await readLora(path)).lora.layers).toEqual(expected.lora.layers);
  const diffusers = folder('pytorch_lora_weights');
  const old = await openWeights(new URL('../fixtures/lora_sd1_diffusers_old.safetensors', import.meta.url).pathname);
  writeFileSync(join(diffusers, 'pytorch_lora_weights.bin'), stateFile(await readAll(old)));
  await old.close();
  expect((await readLora(diffusers)).dialect).toBe('diffusers-old');
});
