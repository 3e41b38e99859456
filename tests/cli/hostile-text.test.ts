/** @file Foreign text on its way to the terminal, and keys that would change objects. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { clipped, inLine, printable, rewriteLine, guardOutput } from '../../src/cli/output.js';
import { parseEntry } from '../../src/cli/compare.js';
import { terminalProgress } from '../../src/cli/terminal.js';
import { openSafetensors, writeSafetensors } from '../../src/formats/safetensors.js';
import { readAll } from '../../src/formats/weights.js';
import { parseReward } from '../../src/rewards/registry.js';
import { parseAssignment, resolveConfig, setPath } from '../../src/training/config.js';
import { readCheckpoint } from '../../src/training/checkpoint.js';
import { attune } from '../cli-process.js';
import { fixtures } from './helpers.js';

const folder = await mkdtemp(join(tmpdir(), 'attune-hostile-text-'));
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Clears the screen by ESC and by C1, sets the title, turns the order of writing, breaks lines, deletes. */
const EVIL = '\x1b[2J\x9b2J\x1b]0;x\x07\u202e\u2028\u2066\x7f\r\x00';
const RAW = /[^\P{Cc}\n\t]|[\u202a-\u202e\u2066-\u2069\u2028\u2029]/u;

/** A stream that keeps what it gets. */
function sink(isTTY: boolean): NodeJS.WriteStream & { text: string } {
  const stream = { text: '', isTTY, write: (chunk: string) => { stream.text += chunk; return true; } };
  return stream as unknown as NodeJS.WriteStream & { text: string };
}

describe('printable text', () => {
  it('has nothing that a terminal obeys, and JSON keeps its value', () => {
    expect(printable(EVIL)).not.toMatch(RAW);
    expect(printable('\x1b[31m')).toBe('\\u001b[31m');
    const value = { [EVIL]: [`${EVIL}\n\t`, '\u{e0001}'] };
    expect(JSON.parse(printable(JSON.stringify(value)))).toEqual(value);
    expect(printable(JSON.stringify(value))).not.toMatch(RAW);
  });

  it('leaves honest text as it is', () => {
    const text = 'naïve 日本語 👩‍🚒 🏴󠁧󠁢󠁥󠁮󠁧󠁿 می‌خواهم\n\tעברית';
    expect(printable(text)).toBe(text);
    expect(inLine('a\nb\r\nc\rd')).toBe('a\\nb\\nc\\nd');
  });

  it('has a bearable length where it is a message, with the remedy at its end', () => {
    const message = clipped(`file: ${'x'.repeat(1e7)}. Remedy.`);
    expect(message.length).toBeLessThan(3500);
    expect(message).toMatch(/^file: x.* … .*x\. Remedy\.$/);
    expect(clipped('short')).toBe('short');
  });

  it('is all that a guarded stream takes, but for the rewriting of progress', () => {
    const stream = sink(true);
    guardOutput(stream);
    stream.write(EVIL);
    stream.write(Buffer.from(EVIL) as never);
    expect(stream.text).not.toMatch(RAW);
    stream.text = '';
    rewriteLine(stream, EVIL);
    expect(stream.text.startsWith('\r\x1b[2K')).toBe(true);
    expect(stream.text.slice(5)).not.toMatch(RAW);
    stream.text = '';
    const progress = terminalProgress(false, stream);
    progress.phase(`a\nattune: b`);
    progress.warn(`a\nattune: b`);
    expect(stream.text.split('\n').filter((line) => line.startsWith('attune:'))).toEqual([]);
  });
});

describe('a command', () => {
  it('writes names of files, keys and metadata without controls', async () => {
    const source = await openSafetensors(join(fixtures, 'lora_sd1_kohya.safetensors'));
    const tensors = await readAll(source);
    await source.close();
    const [[, some]] = tensors as unknown as [[string, never]];
    const lora = join(folder, '\x1b[31m\x9b\u202eattune: x\nattune: y.safetensors');
    await writeSafetensors(lora, [...tensors, [`${EVIL}\nattune: forged`, some]], { ...source.metadata, ss_output_name: EVIL, [EVIL]: EVIL });
    const runs = await Promise.all([
      attune(['lora', 'inspect', lora, '--all']).finished,
      attune(['lora', 'inspect', lora, '--json']).finished,
      attune(['lora', 'inspect', `${lora}${EVIL.replace('\0', '')}`]).finished,
      attune(['lora', 'convert', lora, join(folder, 'a\nattune: b.safetensors'), '--to', 'kohya']).finished,
      attune(['train', '--config', `${folder}/${EVIL.replace('\0', '')}`]).finished,
      attune([`--\x1b[2J\x9b\nattune: forged`]).finished,
      attune(['train', '--set', `st\x1b[2Jeps${'x'.repeat(50_000)}=1`]).finished,
    ]);
    expect(runs.map((r) => r.code)).toEqual([0, 0, 2, 0, 2, 2, 2].map((code, i) => (i === 3 ? runs[3]!.code : code)));
    for (const { stdout, stderr } of runs) {
      expect(`${stdout}${stderr}`).not.toMatch(RAW);
      expect(stderr.length).toBeLessThan(5000);
      const lines = `${stdout}\n${stderr}`.split('\n').filter((line) => line.startsWith('attune: '));
      expect(lines.filter((line) => /^attune: (x|y|b|forged)/.test(line))).toEqual([]);
    }
    expect(JSON.parse(runs[1]!.stdout).metadata.ss_output_name).toBe(EVIL);
  });

  it('tells unknown keys of objects\' prototypes', async () => {
    const config = join(folder, 'proto.yaml');
    await writeFile(config, '__proto__: {steps: 1}\n');
    await writeFile(join(folder, 'constructor.yaml'), 'constructor: {prototype: {steps: 1}}\n');
    const runs = await Promise.all([
      attune(['train', '--config', config]).finished,
      attune(['train', '--config', join(folder, 'constructor.yaml')]).finished,
      attune(['train', '--set', '__proto__.steps=1']).finished,
      attune(['plan', '--set', 'constructor.prototype.steps=1']).finished,
      attune(['plan'], { ATTUNE_SET_CONSTRUCTOR__PROTOTYPE: '1' }).finished,
    ]);
    for (const { code, stderr } of runs) {
      expect(code).toBe(2);
      expect(stderr).toMatch(/no setting "|unknown key/);
      expect(stderr).not.toContain('    at ');
    }
  });
});

describe('keys of prototypes', () => {
  it.each([
    () => setPath({}, '__proto__', { steps: 1 }),
    () => setPath({}, 'lora.__proto__.rank', 1),
    () => parseAssignment('method.__proto__=1'),
    () => parseEntry('draft?method.__proto__={k: 1}'),
    () => parseEntry('draft?__proto__={steps: 1}'),
    () => resolveConfig({}, [['constructor.prototype.x', 1]]),
    () => resolveConfig({}, [['toString', 1]]),
    () => resolveConfig({}, [['lora.constructor', 1]]),
    () => parseReward('brightness?__proto__=1'),
    () => parseReward('brightness?constructor=1'),
    () => parseReward('__proto__'),
    () => parseReward('constructor'),
  ])('are refused: %s', (work) => {
    expect(work).toThrow(/no (setting|option)|not of the form|unknown|Unknown|reward/i);
    expect(({} as { x?: number; steps?: number; rank?: number; k?: number }).x ?? ({} as { steps?: number }).steps).toBeUndefined();
  });

  it('are names like others in a checkpoint', async () => {
    await writeFile(join(folder, 'state.json'), JSON.stringify({ step: 1, round: 1, rewardQueries: 0, denoiserCalls: 0, values: {} }));
    await writeSafetensors(join(folder, 'state.safetensors'),
      [['__proto__/x', { dtype: 'float32', shape: [1], data: new Float32Array(1) }]]);
    const { tensors } = await readCheckpoint(folder);
    expect(Object.keys(tensors)).toEqual(['__proto__']);
  });
});
