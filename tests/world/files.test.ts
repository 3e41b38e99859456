/** @file Files as people have them, and some that are made to do harm: read as meant, or refused with a sentence, soon. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { FormatError } from '../../src/formats/errors.js';
import { readImage } from '../../src/formats/image.js';
import { readLora } from '../../src/formats/lora-file.js';
import { openTorch } from '../../src/formats/torch.js';
import { OnnxError } from '../../src/graph/onnx/error.js';
import { onnxReward } from '../../src/rewards/onnx.js';
import { loadPrompts } from '../../src/training/prompts.js';

const at = (...names: string[]): string => join(import.meta.dirname, ...names);

/** File, and its prompts with their weights or what is wrong with it. */
const PROMPTS: [string, [string, number][] | RegExp][] = [
  ['bom.jsonl', [['a red apple', 1]]],
  ['bom_crlf.txt', [['a red apple', 1], ['a cat', 1]]],
  ['bom_plain_header.csv', [['a red apple', 2]]],
  ['bom_quoted_header.csv', [['a red apple', 2]]],
  ['caption_column.csv', [['a red apple', 1], ['a cat', 1]]],
  ['drawbench.csv', [['A red colored car.', 1], ['A black colored car.', 1]]],
  ['hash.txt', [['#1 dad mug', 1], ['a cat', 1]]],
  ['latin1.txt', /latin1\.txt:1:6: is not UTF-8/],
  ['list.json', [['a red apple', 1], ['a cat', 1]]],
  ['parti.tsv', [['bond', 1], ['a cat, sitting', 1]]],
  ['semicolon.csv', [['a red apple', 2], ['a cat', 1]]],
  ['unquoted_commas.csv', /unquoted_commas\.csv:2, column 2: has 3 cells where the header names 1/],
  ['utf16_powershell.txt', [['a red apple', 1], ['a cat', 1]]],
];

describe('prompts', () => {
  test('every file is among the cases', async () => {
    expect((await readdir(at('prompt_files'))).toSorted()).toEqual(PROMPTS.map(([name]) => name).toSorted());
  });

  test.each(PROMPTS)('%s', async (name, expected) => {
    const reading = loadPrompts(at('prompt_files', name));
    if (expected instanceof RegExp) return expect(reading).rejects.toThrow(expected);
    const { prompts, weights } = await reading;
    expect(prompts.map((prompt, i) => [prompt, weights[i]])).toEqual(expected);
  });
});

test('a reward with bytes, channels last, and one whose dimensions are all named', async () => {
  await onnxReward('bytes', { file: at('onnx', 'uint8_nhwc.onnx'), pixels: 'bytes', index: 0 });
  const named = { file: at('onnx', 'nhwc_named.onnx'), pixels: 'plain' as const, index: 0, side: 32 };
  await onnxReward('named', { ...named, layout: 'nhwc' });
  await expect(onnxReward('named', { ...named, layout: 'nchw' })).rejects.toThrow(/nhwc/);
});

test.each<[string, (file: string) => Promise<unknown>, RegExp]>([
  ['hostile/im-svg.png', readImage, /SVG/i],
  ['hostile/ox-expand.onnx', (file) => onnxReward('x', { file, pixels: 'plain', index: 0 }), /Expand "e": makes \[1048576, 32768\] of known numbers alone/],
  ['hostile/ox-gather.onnx', (file) => onnxReward('x', { file, pixels: 'plain', index: 0 }), /Gather "a": index 99 is outside axis 3/],
  ['hostile/pt-laugh-storage2.pt', openTorch, /pt-laugh/],
  ['nan_lora.safetensors', readLora, /nan_lora\.safetensors: layer ".*": holds NaN or infinity/],
])('%s is refused', async (file, read, message) => {
  const began = performance.now();
  const error = await read(at(file)).then(() => null, (e: unknown) => e);
  expect(error instanceof FormatError || error instanceof OnnxError, String(error)).toBe(true);
  expect((error as Error).message).toMatch(message);
  expect((error as Error).message.length).toBeLessThan(1000);
  expect(performance.now() - began).toBeLessThan(5000);
});
