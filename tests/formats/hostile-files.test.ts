/** @file Files that are not what they seem: each is refused with a sentence, soon, whoever reads it. */
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { crc32 } from 'node:zlib';
import sharp from 'sharp';
import { afterAll, describe, expect, it } from 'vitest';
import { readRun } from '../../src/comparison/run-record.js';
import { FormatError } from '../../src/formats/errors.js';
import { openPicture, readImage } from '../../src/formats/image.js';
import { parseJson } from '../../src/formats/json.js';
import { readJsonFile } from '../../src/formats/json-file.js';
import { MOST_BYTES, readText, readTextIfThere } from '../../src/formats/whole-file.js';
import { readLora } from '../../src/formats/lora-file.js';
import { openWeights } from '../../src/formats/open-weights.js';
import { parseYaml } from '../../src/formats/yaml.js';
import { importOnnx } from '../../src/formats/onnx/import-file.js';
import { loadPipeline } from '../../src/loading/load.js';
import { checkPrompts } from '../../src/sampling/check-prompts.js';
import { readConfigFile } from '../../src/training/config.js';
import { readPairs } from '../../src/training/image-pairs.js';
import { loadDataset } from '../../src/training/pretrain/dataset.js';
import { loadPrompts } from '../../src/training/prompts.js';

const folder = await mkdtemp(join(tmpdir(), 'attune-hostile-'));
afterAll(() => rm(folder, { recursive: true, force: true }));
const at = (name: string): string => join(folder, name);

/** Waits for the error, which must come within five seconds. */
async function refused(work: Promise<unknown> | (() => unknown)): Promise<string> {
  const began = performance.now();
  const error = await (typeof work === 'function' ? Promise.resolve().then(work) : work).then(() => null, (e: unknown) => e);
  expect(performance.now() - began).toBeLessThan(5000);
  expect(error).toBeInstanceOf(FormatError);
  const { message } = error as FormatError;
  expect(message.length).toBeLessThan(1000);
  return message;
}

const readers: Record<string, (path: string) => Promise<unknown>> = {
  configuration: readConfigFile,
  prompts: loadPrompts,
  pairs: readPairs,
  json: readJsonFile,
  picture: readImage,
  'sheet of pictures': openPicture,
  text: (path) => readText(path, 10),
  'text that may be missing': (path) => readTextIfThere(path, 10),
};

describe('a reader of files', () => {
  it.each(Object.keys(readers))('refuses pipes, folders and devices: %s', async (name) => {
    const pipe = at(`${name}.pipe.jsonl`);
    execFileSync('mkfifo', [pipe]);
    const inner = at(`${name}.folder.jsonl`);
    await mkdir(inner);
    for (const path of [pipe, inner, '/dev/zero']) expect(await refused(readers[name]!(path))).toContain('is not a file');
  });

  it('refuses pipes in the place of models, LoRAs and files of runs, and logs of a terabyte', async () => {
    const pipe = at('some.safetensors');
    execFileSync('mkfifo', [pipe]);
    await mkdir(at('run'));
    execFileSync('mkfifo', [at('run/metrics.jsonl')]);
    const works = [
      () => readLora(pipe), () => loadPipeline(pipe), () => loadPipeline('emoji', { vae: pipe }), () => readRun(at('run'), 'a', 0),
    ];
    for (const work of works) {
      expect(await refused(work)).toContain('is not a file');
    }
    await rm(at('run/metrics.jsonl'));
    await writeFile(at('run/metrics.jsonl'), '{}\n');
    await truncate(at('run/metrics.jsonl'), 2 ** 40);
    expect(await refused(readRun(at('run'), 'a', 0))).toContain('are the most');
  });

  it('refuses pipes in the place of metadata.jsonl and captions', async () => {
    await mkdir(at('data'));
    execFileSync('mkfifo', [at('data/metadata.jsonl')]);
    expect(await refused(loadDataset(at('data'), 8))).toContain('is not a file');
    await rm(at('data/metadata.jsonl'));
    await sharp({ create: { width: 8, height: 8, channels: 3, background: '#123' } }).png().toFile(at('data/a.png'));
    execFileSync('mkfifo', [at('data/a.txt')]);
    expect(await refused(loadDataset(at('data'), 8))).toContain('is not a file');
  });

  it.each([
    ['configuration', MOST_BYTES.settings], ['prompts', MOST_BYTES.list], ['pairs', MOST_BYTES.list], ['json', MOST_BYTES.json],
    ['picture', MOST_BYTES.picture],
  ])('refuses files of a terabyte unread: %s', async (name, most) => {
    const path = at(`${name}.huge.jsonl`);
    await writeFile(path, '{');
    await truncate(path, 2 ** 40);
    expect(await refused(readers[name]!(path))).toContain(`${most} are the most`);
  });

  it('tells a pointer of Git LFS, which stands where a file was not downloaded', async () => {
    const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${'4d'.repeat(32)}\nsize 492265168\n`;
    const all: typeof readers = {
      ...readers, text: (path) => readText(path, 1000), 'text that may be missing': (path) => readTextIfThere(path, 1000),
      weights: openWeights, lora: readLora, model: loadPipeline, onnx: async (path) => importOnnx({ path }, { shapes: {} }),
    };
    for (const [name, read] of Object.entries(all)) {
      const path = at(`lfs-${name.replaceAll(' ', '-')}.${name === 'prompts' ? 'txt' : 'safetensors'}`);
      await writeFile(path, pointer);
      await expect(read(path), name).rejects.toThrow(/is a pointer of Git LFS, not the file itself.*git lfs pull/);
    }
  });

  it('reads settings and JSON with a byte-order mark, as PowerShell and Notepad write them', async () => {
    const utf16 = Buffer.from('\ufeff{"steps": 5}', 'utf16le');
    for (const [name, content] of [['bom8', '\ufeff{"steps": 5}'], ['bom16', utf16], ['bom16be', Buffer.from(utf16).swap16()]] as const) {
      await writeFile(at(`${name}.json`), content);
      for (const read of [readJsonFile, readConfigFile]) expect(await read(at(`${name}.json`)), name).toEqual({ steps: 5 });
    }
    await writeFile(at('bom32.json'), Buffer.from('fffe00007b000000', 'hex'));
    expect(await refused(readJsonFile(at('bom32.json')))).toContain('UTF-32');
  });

  it('takes a missing file for missing and nothing else', async () => {
    expect(await readTextIfThere(at('none'), 10)).toBeNull();
    await writeFile(at('file'), 'text');
    expect(await readTextIfThere(at('file/none'), 10)).toBeNull();
    expect(await readTextIfThere(at('file'), 10)).toBe('text');
    await expect(readTextIfThere(at('file'), 3)).rejects.toThrow('4 bytes long');
  });
});

describe('lists', () => {
  const list = async (name: string, content: string): Promise<string> => {
    await writeFile(at(name), content);
    return at(name);
  };

  it('of millions of lines are refused', async () => {
    for (const name of ['many.txt', 'many.jsonl', 'many.csv']) {
      expect(await refused(loadPrompts(await list(name, '"x"\n'.repeat(5_000_000))))).toContain('are the most');
    }
    expect(await refused(readPairs(await list('pairs.jsonl', '{}\n'.repeat(5_000_000))))).toContain('are the most');
  });

  it('with tens of thousands of columns are read at once', async () => {
    const columns = Array.from({ length: 60_000 }, (_, i) => `c${i}`);
    const began = process.cpuUsage();
    expect((await loadPrompts(await list('wide.csv', `prompt,${columns.join(',')}\na cat\n`))).prompts).toEqual(['a cat']);
    expect(process.cpuUsage(began).user / 1e6).toBeLessThan(4);
  });

  it('with a prompt of ten megabytes are refused', async () => {
    const long = 'x'.repeat(10_000_000);
    const pipeline = await loadPipeline(fileURLToPath(new URL('../fixtures/pipeline_sd1', import.meta.url)));
    for (const [name, content] of [['long.txt', long], ['long.jsonl', JSON.stringify(long)], ['long.csv', `prompt\n${long}\n`]] as const) {
      const prompts = async (): Promise<void> => checkPrompts(pipeline, (await loadPrompts(await list(name, content))).prompts, () => {});
      await expect(prompts(), name).rejects.toThrow(/^"x+….* has 10000000 characters; .*8192/);
    }
    await mkdir(at('long'));
    await writeFile(at('long/metadata.jsonl'), JSON.stringify({ file: 'a.png', captions: [long] }));
    await expect(loadDataset(at('long'), 8)).rejects.toThrow(/captions.*10000/);
  });
});

describe('pictures', () => {
  const SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><rect width="8" height="8"/></svg>';

  it.each([
    ['SVG', SVG], ['SVG after an XML head', `<?xml version="1.0"?>\n${SVG}`], ['SVG after spaces', `\n   ${SVG}`],
    ['PDF', '%PDF-1.4\n'], ['MVG', 'push graphic-context\n'], ['PPM', 'P3 1 1 255 0 0 0\n'],
    ['HEIC', '\0\0\0\x18ftypheic\0\0\0\0heicmif1'], ['nothing', ''],
  ])('that are none of those read are refused whatever their name: %s', async (_, content) => {
    await writeFile(at('named.png'), content, 'latin1');
    expect(await refused(readImage(at('named.png')))).toContain('of no kind that is read');
  });

  it.each(['png', 'jpeg', 'webp', 'gif', 'tiff', 'avif'] as const)('are told by their content: %s', async (kind) => {
    const content = await sharp({ create: { width: 9, height: 7, channels: 3, background: '#36c' } })[kind]().toBuffer();
    await writeFile(at('named.svg'), content);
    expect((await readImage(at('named.svg'))).shape).toEqual([3, 7, 9]);
  });

  it('that move are their first frame', async () => {
    const frames = await Promise.all(['#fff', '#000', '#000'].map((background) =>
      sharp({ create: { width: 6, height: 5, channels: 3, background } }).png().toBuffer()));
    for (const kind of ['gif', 'webp'] as const) {
      const { shape, data } = await readImage(await sharp(frames, { join: { animated: true } })[kind]().toBuffer());
      expect(shape).toEqual([3, 5, 6]);
      expect(Math.min(...data as Float32Array)).toBeGreaterThan(0.95);
    }
  });

  it('of absurd sides are refused', async () => {
    const content = await sharp({ create: { width: 4, height: 4, channels: 3, background: '#36c' } }).png().toBuffer();
    const ofSides = (width: number, height: number): Buffer => {
      const changed = Buffer.from(content);
      changed.writeUInt32BE(width, 16);
      changed.writeUInt32BE(height, 20);
      changed.writeUInt32BE(crc32(changed.subarray(12, 29)), 29);
      return changed;
    };
    expect(await refused(readImage(ofSides(40_000, 40_000)))).toContain('pixel');
    expect(await refused(readImage(ofSides(1, 2 ** 30)))).toMatch(/pixel/);
    expect(await refused(readImage(ofSides(1, 60_000_000)))).toContain('1 × 60000000');
    expect(await refused(readImage(ofSides(4, 2000)))).toContain('cannot be read');
  });

  it('in hundreds of passes are refused', async () => {
    const plain = await sharp({ create: { width: 64, height: 64, channels: 3, background: '#36c' } })
      .jpeg({ progressive: true }).toBuffer();
    const lastScan = plain.lastIndexOf(Buffer.from([0xff, 0xda]));
    const scan = plain.subarray(lastScan, plain.length - 2);
    const many = Buffer.concat([plain.subarray(0, -2), ...Array.from({ length: 30 }, () => scan), plain.subarray(-2)]);
    expect((await readImage(plain)).shape).toEqual([3, 64, 64]);
    expect(await refused(readImage(many))).toContain('passes');
  });
});

describe('YAML', () => {
  it.each([
    ['keys', Array.from({ length: 20_000 }, (_, i) => `k${i}: 1`).join('\n'), 'far more than settings'],
    ['items', '- 1\n'.repeat(20_000), 'far more than settings'],
    ['lists', '['.repeat(5000), 'nested'], ['maps', '{a: '.repeat(5000), 'nested'], ['items in items', '- '.repeat(5000), 'nested'],
    ['complex keys', '? '.repeat(500), '"?"'],
    ['maps by indentation', Array.from({ length: 200 }, (_, i) => `${' '.repeat(i)}a:`).join('\n'), 'nested'],
    ['aliases', `a0: &a0 [x]\n${Array.from({ length: 9 }, (_, i) => `a${i + 1}: &a${i + 1} [${`*a${i}, `.repeat(9)}]\n`).join('')}`, 'alias'],
    ['a list that holds itself', 'a: &a [*a]', 'nested'],
    ['an own prototype', '__proto__: {steps: 1}', '"__proto__"'],
    ['a prototype within', 'lora: {__proto__: {rank: 1}}', '"__proto__"'],
    ['length', `a: ${'x'.repeat(2 ** 18)}`, 'too long'],
  ])('of too much is refused soon: %s', async (_, text, words) => {
    expect(await refused(() => parseYaml(text, 'x.yaml'))).toContain(words);
  });

  it('of any honest kind is read', async () => {
    expect(parseYaml('a: {b: [1, two, null]}\n# note\nc: |\n  text\n', 'x')).toEqual({ a: { b: [1, 'two', null] }, c: 'text\n' });
    for (const name of ['denoiser', 'vae']) {
      const text = await readFile(new URL(`../../models/recipes/${name}.yaml`, import.meta.url), 'utf8');
      expect(parseYaml(text, name)).toBeTypeOf('object');
    }
  });
});

describe('JSON', () => {
  it.each([
    ['lists', '['.repeat(1_000_000), 'nested'], ['objects', '{"a":'.repeat(1_000_000), 'nested'],
    ['values', `[${'0,'.repeat(2_000_001)}0]`, 'values'],
    ['a prototype', '{"a": [{"__proto__": 1}]}', '"__proto__"'],
    ['a prototype in disguise', '{"\\u005f_proto__": 1}', '"__proto__"'],
    ['an unclosed string', `["${'\\\\'.repeat(1_000_000)}`, 'not valid JSON'],
  ])('of too much is refused soon: %s', async (_, text, words) => {
    expect(await refused(() => parseJson(text, 'x.json'))).toContain(words);
  });

  it('counts what is no text', () => {
    expect(parseJson(`{"a": "${'['.repeat(100)}\\"[", "b": []}`, 'x')).toEqual({ a: `${'['.repeat(100)}"[`, b: [] });
  });
});
