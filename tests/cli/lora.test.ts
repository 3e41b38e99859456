import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loraCommand } from '../../src/cli/lora.js';
import { convertCommand, scaleCommand } from '../../src/cli/lora/convert.js';
import { exportLora } from '../../src/cli/lora/export.js';
import { inspectCommand } from '../../src/cli/lora/inspect.js';
import { mergeCommand } from '../../src/cli/lora/merge.js';
import { parseLora } from '../../src/cli/option-values.js';
import { staged } from '../../src/cli/staged.js';
import { LORA_DIALECTS, readLora } from '../../src/formats/lora-file.js';
import { scaleOf } from '../../src/formats/lora.js';
import type { LoraFile, LoraLayer } from '../../src/formats/lora.js';
import { openSafetensors, writeSafetensors } from '../../src/formats/safetensors.js';
import { readAll } from '../../src/formats/weights.js';
import { host, sizeOf, toFloat32 } from '../../src/graph/dtype.js';
import { loadPipeline } from '../../src/loading/load.js';
import { mergeLora } from '../../src/nn/lora-values.js';
import { attune } from '../cli-process.js';
import { fixtures, run, scratch, tiny } from './helpers.js';

const folder = scratch();
const kohya = join(fixtures, 'lora_sd1_kohya.safetensors');
const wide = join(fixtures, 'lora_sd1_kohya_wide.safetensors'); // feed-forward and convolutions too
const peft = join(fixtures, 'lora_sd1_peft');
const sdxl = join(fixtures, 'lora_sdxl_kohya.safetensors');
const read = async (path: string): Promise<LoraFile> => (await readLora(path)).lora;

const json = (text: string): unknown => JSON.parse(text);

/** A LoRA file for one layer of the U-Net. */
async function smallLora(path: string, module: string, width: number, value = 0): Promise<string> {
  await writeSafetensors(path, new Map([
    [`unet.${module}.lora_A.weight`, host(new Float32Array(width).fill(value), [1, width])],
    [`unet.${module}.lora_B.weight`, host(new Float32Array(4), [4, 1])],
  ]));
  return path;
}

/** ΔW of a layer, [out, in · kh · kw] as one array. */
function deltaOf(layer: LoraLayer): Float64Array {
  const [up, down] = [toFloat32(layer.up), toFloat32(layer.down)];
  const [rank, out, inner] = [layer.down.shape[0]!, layer.up.shape[0]!, sizeOf(layer.down.shape.slice(1))];
  const delta = new Float64Array(out * inner);
  for (let o = 0; o < out; o++) {
    for (let i = 0; i < inner; i++) {
      for (let r = 0; r < rank; r++) delta[o * inner + i]! += scaleOf(layer) * up[o * rank + r]! * down[r * inner + i]!;
    }
  }
  return delta;
}

const length = (values: ArrayLike<number>): number => Math.sqrt(Array.from(values).reduce((s, v) => s + v * v, 0));

/** Expects that a LoRA's effect is Σ factor · effect of others, layer by layer. */
function expectEffect(actual: LoraFile, parts: readonly (readonly [LoraFile, number])[], tolerance = 1e-5): void {
  const paths = new Set(parts.flatMap(([lora]) => [...lora.layers.keys()]));
  expect(new Set(actual.layers.keys())).toEqual(paths);
  for (const path of paths) {
    const delta = deltaOf(actual.layers.get(path)!);
    for (const [lora, factor] of parts) {
      const layer = lora.layers.get(path);
      if (layer) deltaOf(layer).forEach((v, i) => (delta[i]! -= factor * v));
    }
    expect(Math.max(...delta.map(Math.abs)), path).toBeLessThan(tolerance);
  }
}

describe('inspect', () => {
  test('measures every layer, alone and against the model', async () => {
    const { stdout } = await run(inspectCommand(), wide, '--model', tiny, '--json');
    const report = JSON.parse(stdout) as {
      dialect: string; misfits: string[]; total: { change: number; relative: number };
      layers: { path: string; rank: number; alpha: number; change: number; relative: number }[];
    };
    const [lora, { weights }] = [await read(wide), await loadPipeline(tiny)];
    expect(report).toMatchObject({ dialect: 'kohya', misfits: [] });
    expect(report.layers.map((l) => l.path).toSorted()).toEqual([...lora.layers.keys()].toSorted());
    const weightOf = (path: string): number => length(weights.get(`${path}.weight`)!.data as Float32Array);
    for (const { path, change, relative } of report.layers) {
      const expected = length(deltaOf(lora.layers.get(path)!));
      expect(Math.abs(change / expected - 1), path).toBeLessThan(1e-4);
      expect(relative * weightOf(path)).toBeCloseTo(change, 3);
    }
    expect(report.layers.every((l, i, all) => i === 0 || l.change <= all[i - 1]!.change)).toBe(true);
    expect(report.total.change).toBeCloseTo(length(report.layers.map((l) => l.change)), 4);
    const all = length(report.layers.map((l) => weightOf(l.path)));
    expect(report.total.relative).toBeCloseTo(report.total.change / all, 4);
  });

  test('tells people what the file is', async () => {
    const { stdout } = await run(inspectCommand(), join(fixtures, 'lora_sd1_diffusers.safetensors'));
    expect(stdout).toMatch(/dialect +diffusers\n/);
    expect(stdout).toMatch(/rank +2\nalpha +3\n/);
    expect(stdout).toMatch(/layers +128: unet\n/);
    expect(stdout).toMatch(/attn2\.to_k \(16\)/);
    expect(stdout).toContain('… 116 more (--all)');
    expect((await run(inspectCommand(), kohya, '--all')).stdout.split('\n').length).toBeGreaterThan(140);
  });

  test('names layers that do not fit, missing parts and foreign keys', async () => {
    const { stdout } = await run(inspectCommand(), sdxl, '--model', tiny);
    expect(stdout).toMatch(/fits the model +no: \d+ of \d+ layers do not/);
    const source = await openSafetensors(kohya);
    const tensors = await readAll(source);
    await source.close();
    const module = 'lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_';
    tensors.delete(`${module}q.lora_up.weight`);
    tensors.set(`${module}k.dora_scale`, host(new Float32Array(1), [1]));
    const path = join(folder, 'odd.safetensors');
    await writeSafetensors(path, tensors);
    const report = json((await run(inspectCommand(), path, '--json')).stdout);
    expect(report).toMatchObject({
      missing: ['unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q: up'],
      unknown: expect.arrayContaining([`${module}k.dora_scale`]) as string[],
    });
    expect((report as { layers: unknown[] }).layers).toHaveLength(126);
    const { stderr } = await run(convertCommand(), path, '--to', 'kohya', '--out', join(folder, 'rest.safetensors'));
    expect(stderr).toMatch(/warning: .*odd\.safetensors: 2 of 128 layers are left out: 1 of unet \(DoRA\), 1 of unet \(a matrix is missing\)/);
  });
});

describe('convert', () => {
  test.each(LORA_DIALECTS)('to %s keeps the effect, and says how well', async (dialect) => {
    const out = join(folder, dialect === 'peft' ? 'as-peft' : `${dialect}.safetensors`);
    const { stdout } = await run(convertCommand(), wide, '--to', dialect, '--out', out, '--json');
    expect(json(stdout)).toMatchObject({ out, dialect, difference: expect.closeTo(0, 6) as number });
    expect((await readLora(out)).dialect).toBe(dialect);
    expectEffect(await read(out), [[await read(wide), 1]]);
    expect((await readdir(folder)).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  test('asks which model a file is for that does not tell, and believes no other', async () => {
    const out = join(folder, 'based.safetensors');
    const { stderr } = await run(convertCommand(), kohya, '--to', 'kohya', '--out', out);
    expect(stderr).toMatch(/warning: .*does not tell which model it was made for.* give --base/);
    const told = await run(convertCommand(), kohya, '--to', 'kohya', '--out', out, '--base', 'sd2');
    expect([told.stderr, (await read(out)).baseModel]).toEqual(['', 'sd2']);
    await expect(run(convertCommand(), out, '--to', 'kohya', '--out', out, '--base', 'sdxl'))
      .rejects.toThrow(/was made for sd2, not sdxl; leave out --base/);
  });

  test('tells of embeddings that the dialect has no place for, and inspect what they are', async () => {
    const path = join(folder, 'bundle.safetensors');
    const source = await openSafetensors(await smallLora(path, 'conv_in', 4, 1));
    const tensors = await readAll(source);
    await source.close();
    await writeSafetensors(path, tensors.set('bundle_emb.style.clip_l', host(new Float32Array(6), [2, 3])));
    const { stderr } = await run(convertCommand(), path, '--to', 'diffusers', '--out', join(folder, 'no-bundle.safetensors'));
    expect(stderr).toMatch(/its embeddings \(1\) have no place in the dialect diffusers/);
    expect((await run(inspectCommand(), path)).stdout).toMatch(/embeddings.*:\n +style: 2 x 3 for text_encoder\n/);
    expect(json((await run(inspectCommand(), path, '--json')).stdout)).toMatchObject(
      { embeddings: { style: { text_encoder: [2, 3] } }, leftOut: { layers: 0, kinds: [] } });
  });

  test('to half precision rounds, and says by how much', async () => {
    const out = join(folder, 'half.safetensors');
    const { stdout } = await run(convertCommand(), kohya, '--to', 'kohya', '--out', out, '--json',
      '--dtype', 'float16');
    const { difference } = json(stdout) as { difference: number };
    expect(difference).toBeGreaterThan(1e-5);
    expect(difference).toBeLessThan(3e-3);
    const [layer] = (await read(out)).layers.values();
    expect([layer!.up.dtype, layer!.down.dtype]).toEqual(['float16', 'float16']);
  });

  test('refuses numbers that the format cannot hold, and leaves what was there', async () => {
    const path = await smallLora(join(folder, 'huge.safetensors'), 'conv_in', 4, 1e6);
    const out = join(folder, 'kept.safetensors');
    await writeFile(out, 'mine');
    await expect(run(convertCommand(), path, '--to', 'diffusers', '--dtype', 'float16', '--out', out))
      .rejects.toThrow(/conv_in, down holds 1000000, too large for float16; give --dtype/);
    expect(await readFile(out, 'utf8')).toBe('mine');
    expect((await readdir(folder)).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  test('finds out when another LoRA is read back than was meant', async () => {
    const [lora, other] = [await read(kohya), await read(wide)];
    const out = join(folder, 'wrong.safetensors');
    await expect(exportLora(out, lora, other, 'kohya')).rejects.toThrow(/layers were read back, not 128/);
    const [path, layer] = [...lora.layers][0]!;
    const bent = { ...lora, layers: new Map(lora.layers).set(path, { ...layer, alpha: layer.alpha * 1.001 }) };
    await expect(exportLora(out, lora, bent, 'kohya')).rejects.toThrow(/up: .* was read back, not/);
    expect(await readdir(folder)).not.toContain('wrong.safetensors');
  });
});

test.each([['kohya', kohya], ['peft', peft]])('scale multiplies the effect of a %s LoRA', async (dialect, path) => {
  const out = join(folder, dialect === 'peft' ? 'scaled' : 'scaled.safetensors');
  await run(scaleCommand(), path, '--by', '-0.7', '--out', out);
  expect((await readLora(out)).dialect).toBe(dialect);
  expectEffect(await read(out), [[await read(path), -0.7]]);
});

describe('merge', () => {
  test('into a model writes the model with the effects added', async () => {
    const out = join(folder, 'model');
    const { stdout } = await run(mergeCommand(), '--model', tiny, '--lora', `${wide}:-0.4`, '--lora', peft,
      '--out', out, '--dtype', 'float32', '--quiet', '--json');
    expect(json(stdout)).toMatchObject({ out, dtype: 'float32', difference: 0 });
    const base = await loadPipeline(tiny);
    const once = await mergeLora(base.weights, await read(wide), -0.4, '');
    const expected = await mergeLora(once, await read(peft), 1, '');
    const { weights } = await loadPipeline(out);
    for (const [name, { data }] of expected) expect(weights.get(name)!.data, name).toEqual(data);
  });

  test('without a model makes one LoRA with the effects added', async () => {
    const out = join(folder, 'joined.safetensors');
    await run(mergeCommand(), '--lora', `${wide}:0.5`, '--lora', `${peft}:-2`, '--out', out,
      '--dtype', 'float32', '--to', 'diffusers');
    expectEffect(await read(out), [[await read(wide), 0.5], [await read(peft), -2]]);
  });

  test('of LoRAs for different models is refused', async () => {
    const module = 'mid_block.attentions.0.transformer_blocks.0.attn2.to_k';
    const [one, two] = [
      await smallLora(join(folder, 'one.safetensors'), module, 768),
      await smallLora(join(folder, 'two.safetensors'), module, 2048),
    ];
    await expect(run(mergeCommand(), '--lora', one, '--lora', two, '--out', join(folder, 'both.safetensors')))
      .rejects.toThrow(/different models: .*one.safetensors for sd1, .*two.safetensors for sdxl/);
  });
});

describe('the program', () => {
  test('ends with 2 for a LoRA of another architecture, and writes nothing', async () => {
    const out = join(folder, 'never');
    const running = attune(['lora', 'merge', '--model', tiny, '--lora', sdxl, '--out', out]);
    const { code, stdout, stderr } = await running.finished;
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(/attune: .*lora_sdxl_kohya.safetensors: does not fit .*Take the model that it was made for/);
    expect(await readdir(folder)).not.toContain('never');
  });

  test('ends with 0 and the path first', async () => {
    const out = join(folder, 'good.safetensors');
    const running = attune(['lora', 'convert', kohya, '--base', 'sd1', '--to', 'diffusers', '--out', out]);
    const { code, stdout, stderr } = await running.finished;
    expect([code, stdout.split('\n')[0], stderr]).toEqual([0, out, '']);
  });
});

test.each([
  [['convert', kohya, '--to', 'onnx', '--out', 'x'], 'CommanderError', /kohya, diffusers/],
  [['convert', kohya, '--to', 'kohya', '--out', fixtures], 'FormatError', /is a folder, not a file/],
  [['convert', kohya, '--to', 'peft', '--out', fixtures], 'UsageError', /is not empty/],
  [['inspect', 'nowhere'], 'FormatError', /nowhere: does not exist/],
  [['convert', kohya, '--to', 'kohya', '--out', 'x.txt'], 'UsageError', /is a safetensors file; name it x\.safetensors/],
  [['convert', kohya, '--to', 'diffusers', '--out', 'x'], 'UsageError', /name it x\.safetensors/],
  [['convert', kohya, '--to', 'peft', '--out', 'x.safetensors'], 'UsageError', /is a folder; name it x$/],
  [['scale', kohya, '--by', '2', '--out', 'x.pt'], 'UsageError', /is a folder; name it x$/],
  [['scale', kohya, '--by', '2', '--out', 'x'], 'UsageError', /dialect kohya is a safetensors file; name it x\.safetensors/],
  [['scale', peft, '--by', '2', '--out', 'x.safetensors'], 'UsageError', /dialect peft is a folder; name it x$/],
  [['merge', '--lora', kohya, '--lora', wide, '--out', 'x.ckpt'], 'UsageError', /name it x\.safetensors/],
  [['merge', '--out', 'x'], 'UsageError', /no LoRA; give --lora/],
  [['merge', '--lora', kohya, '--out', 'x'], 'UsageError', /give --model to merge it into/],
  [['merge', '--model', tiny, '--to', 'peft', '--lora', kohya, '--out', 'x'], 'CommanderError', /cannot be used with/],
])('lora %j is the mistake of the user', async (args, name, message) => {
  await expect(run(loraCommand(), ...args))
    .rejects.toMatchObject({ name, message: expect.stringMatching(message) as string });
});

test('staged output takes its place only when all went well', async () => {
  const at = join(folder, 'stage');
  await mkdir(at);
  const fail = staged(join(at, 'a', 'b'), 'folder', async (path) => {
    await mkdir(path);
    await writeFile(join(path, 'half'), '');
    throw new Error('disk full');
  });
  await expect(fail).rejects.toThrow('disk full');
  expect(await readdir(join(at, 'a'))).toEqual([]);
  await mkdir(join(at, 'empty'));
  await staged(join(at, 'empty'), 'folder', async (path) => {
    await mkdir(path);
    await writeFile(join(path, 'whole'), '');
  });
  expect(await readdir(join(at, 'empty'))).toEqual(['whole']);
});

test.each([
  ['a.safetensors', 'a.safetensors', 1],
  ['a.safetensors:0.5', 'a.safetensors', 0.5],
  ['a:-1.5', 'a', -1.5],
  ['a:2e0', 'a', 2],
  ['C:\\loras\\a.safetensors', 'C:\\loras\\a.safetensors', 1],
  ['C:\\a.safetensors:.3', 'C:\\a.safetensors', 0.3],
  ['runs/12:30/a', 'runs/12:30/a', 1],
])('--lora %s', (text, path, strength) => {
  expect(parseLora(text)).toEqual({ path, strength });
});
