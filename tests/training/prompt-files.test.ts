/** @file Prompt files as people have them: encodings, headers, separators; what is read, what refused, and where. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { loadPrompts } from '../../src/training/prompts.js';

const folder = await mkdtemp(join(tmpdir(), 'attune-prompts-'));
afterAll(() => rm(folder, { recursive: true, force: true }));

async function prompts(name: string, content: string | Uint8Array): Promise<readonly string[]> {
  const path = join(folder, name);
  await writeFile(path, content);
  return (await loadPrompts(path)).prompts;
}

const utf16be = (text: string): Uint8Array => Buffer.from(`\ufeff${text}`, 'utf16le').swap16();
const APPLE = 'a red apple';
const BOTH = [APPLE, 'a cat'];

describe('is read', () => {
  test.each<[string, string | Uint8Array, string[]]>([
    ['utf16_powershell.txt', Buffer.from('\ufeffa red apple\r\na cat\r\n', 'utf16le'), BOTH],
    ['utf16_big.csv', utf16be('prompt,weight\r\na café,2\r\n'), ['a café']],
    ['bom_crlf.txt', '\ufeffa red apple\r\na cat\r\n', BOTH],
    ['mac.txt', 'a red apple\ra cat\r', BOTH],
    ['bom_quoted_header.csv', '\ufeff"prompt","weight"\r\n"a red apple","2"\r\n', [APPLE]],
    ['bom_plain_header.csv', '\ufeffprompt,weight\r\na red apple,2\r\n', [APPLE]],
    ['bom.jsonl', '\ufeff{"prompt": "a red apple"}\r\n', [APPLE]],
    ['list.json', '[\n  {"prompt": "a red apple"},\n  "a cat"\n]\n', BOTH],
    ['inside.json', '{"prompts": ["a red apple", "a cat"]}', BOTH],
    ['lines.json', '{"text": "a red apple"}\n{"Text": "a cat", "weight": null}\n', BOTH],
    ['drawbench.csv', 'Prompts,Category\na red apple,Colors\na cat,Colors\n', BOTH],
    ['parti.tsv', 'Prompt\tCategory\tNote\na sign that says "hi", red\tAbstract\t\na cat, sitting\tAnimals\t\n', ['a sign that says "hi", red', 'a cat, sitting']],
    ['caption_column.csv', 'image,caption\na.png,a red apple\nb.png,a cat\n', BOTH],
    ['semicolon.csv', 'prompt;weight\na red apple, ripe;2\na cat;1\n', ['a red apple, ripe', 'a cat']],
    ['excel.csv', 'sep=;\r\nprompt;weight\r\na red apple;1\r\na cat;1\r\n', BOTH],
    ['several_lines.csv', 'prompt,note\n"a red\napple",x\n\na cat,,\n', ['a red\napple', 'a cat']],
    ['metadata.jsonl', '{"file_name": "a.png", "text": "a red apple"}\n', [APPLE]],
    ['hash.txt', '# a comment\n#\n## also one\n#1 dad mug\n#cat\n', ['#1 dad mug', '#cat']],
    ['blank_weight.csv', 'weight,prompt\n,a red apple\n1,a cat\n', BOTH],
    ['list_like.txt', '[a cat] in brackets\n', ['[a cat] in brackets']],
  ])('%s', async (name, content, expected) => {
    expect(await prompts(name, content)).toEqual(expected);
  });
});

describe('is refused with its place', () => {
  test.each<[string, string | Uint8Array, RegExp]>([
    ['latin1.txt', Buffer.from('a cat\na café in Zürich\n', 'latin1'), /latin1\.txt:2:6: is not UTF-8.*iconv/],
    ['utf16_bare.txt', Buffer.from('a cat', 'utf16le'), /utf16_bare\.txt:1:2: is a zero/],
    ['half.txt', Buffer.from([0xff, 0xfe, 0x41, 0x00, 0x00, 0xd8]), /half\.txt:1:2: is not UTF-16LE/],
    ['utf32.txt', Buffer.from([0xff, 0xfe, 0, 0, 0x41, 0, 0, 0]), /UTF-32/],
    ['unquoted_commas.csv', 'prompt\na cat\na red apple, on a table, studio light\n', /unquoted_commas\.csv:3, column 2: has 3 cells where the header names 1/],
    ['no_header.csv', 'a red apple\na cat\n', /no_header\.csv:1: has no column "prompt" .*it has "a red apple"/],
    ['other_columns.csv', 'image,score\na.png,1\n', /other_columns\.csv:1: has no column "prompt".*"image", "score"/],
    ['unclosed.csv', 'prompt,weight\na cat,1\n"a dog,1\nx,2\n', /unclosed\.csv:3, column 1: has a double quote that is never closed/],
    ['half_quoted.csv', 'prompt\n"a cat" sitting\n', /half_quoted\.csv:2, column 1: has a double quote in the wrong place/],
    ['inner_quote.csv', 'weight,prompt\n1,a 5" screen\n', /inner_quote\.csv:2, column 2: has a double quote in the wrong place/],
    ['gap.csv', 'id,prompt\n1,a cat\n2,\n', /gap\.csv:3, column 2: the prompt is empty/],
    ['twice.csv', 'prompt,Prompt\na,b\n', /twice\.csv:1: names the column "prompt" twice/],
    ['table.txt', 'prompt,weight\na red apple,2\n', /table\.txt:1: "prompt,weight" is no prompt but the header of a table/],
    ['header.txt', '"Prompts"\na red apple\n', /header\.txt:1: .* the header of a table/],
    ['json.txt', '{"prompt": "a cat"}\n', /json\.txt:1: .* is no prompt but JSON/],
    ['broken.json', '[\n  "a cat",\n  a dog\n]', /broken\.json:3:3: not JSON/],
    ['number.json', '3', /number\.json: holds no list/],
    ['names.json', '[{"file_name": "a.png"}]', /names\.json:1:2, item 1: has no text "prompt"/],
    ['names.jsonl', '"a cat"\n{"file_name": "a.png"}\n', /names\.jsonl:2: has no text "prompt"/],
    ['weight.jsonl', '{"prompt": "a", "weight": true}\n', /weight\.jsonl:1, "weight": weight "true" is not a number/],
    ['deep.json', '{"prompts":\n [["a]", {"b": 1}],\n  {"prompt": 3}]}', /deep\.json:2:3, item 1: has no text "prompt"/],
    ['third.json', '{"prompts":\n ["a, [b]",\n  {"prompt": "c"},  {"text": 3}]}', /third\.json:3:21, item 3, "text": has no text "prompt"/],
    ['weights.json', '[{"prompt": "a", "weight": "x"}]', /weights\.json:1:2, item 1, "weight": weight "x" is not a number/],
    ['weights.csv', 'prompt,weight\na,1\nb,heavy\n', /weights\.csv:3, column 2: weight "heavy" is not a number/],
    ['cut.jsonl', '"a cat"\n{"prompt": "a dog",}\n', /cut\.jsonl:2:20: not JSON/],
    ['none.parquet', 'PAR1, or so it says', /none\.parquet: is no Parquet file that can be read/],
    ['empty.parquet', '', /empty\.parquet: is no Parquet file that can be read/],
    ['pictures.txt', 'images/0001.png\nimages/0002.png\n', /pictures\.txt: "images\/0001\.png" is no prompt but a picture's file/],
    ['column.csv', 'text,caption\na.jpg,b.JPEG\n', /column\.csv: "b\.JPEG" is no prompt but a picture's file/],
    ['huge.csv', 'prompt,weight\na,1e308\nb,1e308\n', /huge\.csv: the weights add up to more/],
    ['sheet.xlsx', 'PK', /sheet\.xlsx: prompts are read from \.txt, .*not from \.xlsx/],
  ])('%s', async (name, content, message) => {
    await expect(prompts(name, content)).rejects.toThrow(message);
  });
});

describe('Parquet', () => {
  const fixture = (name: string): string => join(import.meta.dirname, '..', 'fixtures', `prompts_${name}.parquet`);
  const PROMPTS = ['a red apple', 'a café in Zürich, “rain”', 'a cat'];

  test.each(['snappy', 'gzip', 'brotli', 'plain'])('of a data set, pictures and lists beside the prompts: %s', async (codec) => {
    expect(await loadPrompts(fixture(codec))).toMatchObject({ prompts: PROMPTS, weights: [2, 1, 1] });
  });

  test('of a codec that is not read says which; zstd is read where Node can', async () => {
    await expect(loadPrompts(fixture('lz4'))).rejects.toThrow(/prompts_lz4\.parquet: is compressed with LZ4\w*, which is not read here\. Write it with compression="snappy"/);
    const zstd = loadPrompts(fixture('zstd')).then(({ prompts: found }) => found, String);
    expect([PROMPTS, expect.stringMatching(/compressed with ZSTD/)]).toContainEqual(await zstd);
  });

  test('with a gap, without the column, cut off or with a page that says it is huge is refused with its place', async () => {
    await expect(loadPrompts(fixture('gap'))).rejects.toThrow(/prompts_gap\.parquet, row 2: has no text "prompt"/);
    const bytes = await readFile(fixture('snappy'));
    const changed = async (change: (copy: Buffer) => Buffer): Promise<string> => {
      await writeFile(join(folder, 'changed.parquet'), change(Buffer.from(bytes)));
      return loadPrompts(join(folder, 'changed.parquet')).then(() => 'read', String);
    };
    expect(await changed((copy) => Buffer.from(copy.toString('latin1').replaceAll('prompt', 'prxmpt'), 'latin1'))).toMatch(/changed\.parquet: has no column "prompt" .*it has "prxmpt", "weight"/);
    expect(await changed((copy) => copy.subarray(0, 200))).toMatch(/no Parquet file that can be read/);
    expect(await changed((copy) => Buffer.concat([copy.subarray(0, 20), copy.subarray(60)]))).toMatch(/FormatError/);
    // Whatever byte is another one: read or refused, never anything else.
    for (let at = 4; at < bytes.length; at += 7) expect(await changed((copy) => (copy.writeUInt8(copy[at]! ^ 0x55, at), copy))).toMatch(/^(read|FormatError|ConfigError)/);
  });
});
