/** @file A run's folder: what is taken, refused, mended and left behind; and what TensorBoard sees of a run that crashed. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { appendFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openEventWriter } from '../../src/formats/tfevents.js';
import { resolveConfig } from '../../src/training/config.js';
import type { MetricsRow } from '../../src/runs/rows.js';
import type { RunConfig } from '../../src/training/config.js';
import type { RunEvent } from '../../src/runs/events.js';
import type { RunFolder } from '../../src/runs/folder.js';
import type { Manifest } from '../../src/runs/manifest.js';
import { readView } from '../../src/runs/view.js';
import { openRun } from '../../src/training/stored-config.js';
import { scratch } from '../cli/helpers.js';
import { limitDisk } from '../small-disk.mjs';

const root = scratch();
// As runs have decided it where nothing else was asked for.
const config = resolveConfig({ precision: 'float32' }, []);
const told: string[] = [];
const warn = (text: string): void => void told.push(text);
const open = (path: string, resume = false, of: RunConfig = config) => openRun(path, of, { resume, warn });

const update = (folder: RunFolder, row: MetricsRow): Promise<void> => folder.emit({ type: 'step', row });

/** A run of so many logged steps. */
async function run(name: string, steps: number, manifest: Manifest = {}): Promise<string> {
  const path = join(root, name);
  const folder = await open(path);
  await folder.begin(manifest);
  await folder.rewind(-1);
  for (let step = 1; step <= steps; step++) await update(folder, { step, loss: step });
  await folder.close();
  return path;
}

interface Seen {
  /** Values of `loss` by step, as TensorBoard's accumulator holds them. */
  readonly loss: Record<number, number>;
}

/** Reads event files as TensorBoard does: in order of their names, with what a session start purges. */
function tensorBoard(folder: string): Seen {
  const loss: Record<number, number> = {};
  for (const file of readdirSync(folder).filter((name) => name.includes('tfevents')).toSorted()) {
    const bytes = readFileSync(join(folder, file));
    for (let at = 0; at < bytes.length;) {
      const length = Number(bytes.readBigUInt64LE(at));
      const { step, start, tag, value } = eventOf(bytes.subarray(at + 12, at + 12 + length));
      if (start) for (const known of Object.keys(loss).map(Number)) if (known >= step) delete loss[known];
      if (tag === 'loss') {
        expect(loss[step], `step ${step} twice`).toBeUndefined();
        loss[step] = value!;
      }
      at += 16 + length;
    }
  }
  return { loss };
}

/** The fields of a protocol buffer message. */
function* fields(bytes: Buffer): Generator<[number, Buffer | number]> {
  let at = 0;
  const varint = (): number => {
    let [value, factor] = [0, 1];
    for (; ; factor *= 128) {
      const byte = bytes[at++]!;
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const [field, type] = [key >> 3, key & 7];
    if (type === 0) yield [field, varint()];
    else {
      const size = type === 1 ? 8 : type === 5 ? 4 : varint();
      yield [field, bytes.subarray(at, at += size)];
    }
  }
}

function eventOf(bytes: Buffer): { step: number; start: boolean; tag?: string; value?: number } {
  const event = new Map(fields(bytes));
  const log = event.get(7) as Buffer | undefined;
  const start = log !== undefined && new Map(fields(log)).get(1) === 1;
  const summary = event.get(5) as Buffer | undefined;
  const value = summary && new Map(fields(new Map(fields(summary)).get(1) as Buffer));
  const number = value?.get(2) as Buffer | undefined;
  return {
    step: (event.get(2) as number | undefined) ?? 0, start,
    ...(value && { tag: (value.get(1) as Buffer).toString() }), ...(number && { value: number.readFloatLE() }),
  };
}

test('nothing that is told while a folder becomes a run is lost', async () => {
  const path = join(root, 'meanwhile');
  const folder = await open(path);
  let begun = false;
  const beginning = folder.begin({}).finally(() => (begun = true));
  let count = 0;
  while (!begun) {
    folder.progress.warn(`${count++}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await beginning;
  await folder.close();
  const warnings = readFileSync(join(path, 'events.jsonl'), 'utf8').split('\n').filter((line) => line.includes('"warning"'));
  expect(warnings.map((line) => (JSON.parse(line) as { text: string }).text)).toEqual(Array.from({ length: count }, (_, i) => `${i}`));
});

test('after a crash TensorBoard shows every step once: what is purged begins after the checkpoint, not after the last line', async () => {
  const path = await run('crashed', 7);
  const folder = await open(path, true);
  await folder.begin({});
  await folder.rewind(4); // the checkpoint's step
  expect(await folder.rows()).toHaveLength(4);
  expect(tensorBoard(path).loss).toEqual({ 1: 1, 2: 2, 3: 3, 4: 4 });
  for (let step = 5; step <= 8; step++) await update(folder, { step, loss: 10 * step });
  await folder.close();
  expect(tensorBoard(path).loss).toEqual({ 1: 1, 2: 2, 3: 3, 4: 4, 5: 50, 6: 60, 7: 70, 8: 80 });
});

test('an event file that could not be written once goes on', async () => {
  const path = join(root, 'full');
  const writer = await openEventWriter(path);
  limitDisk(path, 0);
  await expect(writer.scalar('loss', 1, 1)).rejects.toThrow('the disk is full');
  limitDisk(path, Infinity);
  await writer.scalar('loss', 2, 2);
  expect(tensorBoard(path).loss).toEqual({ 2: 2 });
});

test('a bad line of the log costs that line, and is told; what a killed process left of a line costs no other', async () => {
  const path = await run('bad line', 3);
  const log = join(path, 'events.jsonl');
  const lines = readFileSync(log, 'utf8').trim().split('\n');
  expect(lines.map((line) => (JSON.parse(line) as { type: string }).type)).toEqual(['opened', 'step', 'step', 'step']);
  const bad = [lines[0], lines[1], '{"type":"step","time":1,"row":{"step": 2, "lo', '"no event"', '{"type":"step","time":1,"row":{"loss":1}}', lines[3]];
  writeFileSync(log, [...bad, '{"type":"of a later version"}', '{"type":"step","time":1,"row":{"st'].join('\n'));
  told.length = 0;
  const folder = await open(path, true);
  await folder.begin({});
  expect(told).toHaveLength(3);
  expect(told[0]).toBe(`${log}: line 3 is not JSON. It is left out.`);
  expect(told[2]).toMatch(/: line 5 is no event of a run: row\.step: .*It is left out\.$/);
  await folder.rewind(9);
  expect((await folder.rows()).map(({ step }) => step)).toEqual([1, 3]);
  expect(readFileSync(join(path, 'metrics.jsonl'), 'utf8')).toBe('{"step":1,"loss":1}\n{"step":3,"loss":3}\n');
  await update(folder, { step: 4 });
  expect((await folder.rows()).map(({ step }) => step)).toEqual([1, 3, 4]);
  await folder.close();
});

describe('without a checkpoint', () => {
  test('a folder of settings alone is refused, and told how a run of them is begun', async () => {
    const path = join(root, 'settings alone');
    mkdirSync(path);
    writeFileSync(join(path, 'config.yaml'), '{}\n');
    await expect(open(path, true)).rejects.toThrow(/holds settings, but no checkpoint and no log .*attune train --config .*config\.yaml$/);
    expect(readdirSync(path)).toEqual(['config.yaml']);
  });

  test('a run that ended before its first one begins again and says so; one whose checkpoints are gone is refused', async () => {
    const path = await run('early', 1);
    const phases: string[] = [];
    const listeners = [(event: RunEvent) => void (event.type === 'phase' && phases.push(event.text))];
    const folder = await openRun(path, config, { resume: true, warn, listeners });
    expect(phases).toEqual([`${path} ended before its first checkpoint, so it begins again at its first step`]);
    await folder.begin({});
    await folder.rewind(-1);
    expect(await folder.rows()).toEqual([]);
    await folder.emit({ type: 'checkpoint', step: 3, path: 'checkpoints/step-000003' });
    await folder.close();
    await expect(open(path, true)).rejects.toThrow(/the checkpoint of step 3 was saved, and none is there any more/);
    expect(existsSync(join(path, '.lock'))).toBe(false);
  });

  test('what a run of before there was a log has measured is in its log once it goes on', async () => {
    const path = join(root, 'old run');
    mkdirSync(join(path, 'checkpoints', 'step-000002'), { recursive: true });
    writeFileSync(join(path, 'config.yaml'), '{}\n');
    const lines = ['{"step":0,"evalReward":0.5,"seconds":0}', '{"step":1,"reward":1,"loss":2,"seconds":1}', '{"step":2,"reward":1,"loss":2,"evalReward":3,"seconds":2}', '{"step":3,"reward":9,"seconds":3}'];
    writeFileSync(join(path, 'metrics.jsonl'), `${lines.join('\n')}\n`);
    const folder = await open(path, true);
    await folder.begin({});
    await folder.rewind(2);
    await folder.close();
    expect(readFileSync(join(path, 'metrics.jsonl'), 'utf8')).toBe(`${lines.slice(0, 3).join('\n')}\n`);
    expect((await readView(path))!.evaluations.map((e) => e.row)).toEqual([{ step: 0, evalReward: 0.5, seconds: 0 }, { step: 2, evalReward: 3, seconds: 2 }]);
  });
});

test('the temporary files of killed writes are swept when a run goes on', async () => {
  const path = await run('killed', 1);
  await mkdir(join(path, 'checkpoints', '.step-000001.tmp'), { recursive: true });
  await appendFile(join(path, '.report.html.0123456789ab.tmp'), 'half');
  await (await open(path, true)).close();
  expect(readdirSync(path, { recursive: true }).filter((name) => String(name).endsWith('.tmp'))).toEqual([]);
});

test('a folder that was made for nothing is removed, one that was there stays', async () => {
  mkdirSync(join(root, 'there'));
  for (const name of ['made/for/nothing', 'there']) await (await open(join(root, name))).close();
  expect([existsSync(join(root, 'made')), existsSync(join(root, 'there'))]).toEqual([false, true]);
});

test('one process has a run once; a deleted folder is not made again', async () => {
  const path = await run('deleted', 1);
  const folder = await open(path, true);
  await expect(open(path, true)).rejects.toThrow(/in use by this very process/);
  rmSync(path, { recursive: true });
  await expect(update(folder, { step: 2 })).rejects.toThrow(/was deleted, moved or taken/);
  await expect(folder.sheet('x', new Uint8Array(1), 1, 1, 2)).rejects.toThrow(/was deleted, moved or taken/);
  await folder.close();
  expect(existsSync(path)).toBe(false);
});

describe('what a run computes with', () => {
  const [a, b] = ['a', 'b'].map((c) => c.repeat(64)) as [string, string];
  const inputs = { 'model unet': a, node: 'v20.0.0', 'prompts p.txt': a };
  const place = { device: 'cpu', threads: '2' };

  async function goOn(path: string, manifest: Manifest, force = false, of = config): Promise<Manifest> {
    told.length = 0;
    const folder = await open(path, true, of);
    try {
      return await folder.begin(manifest, force);
    } finally {
      await folder.close();
    }
  }

  test('has changed: refused with what, unless forced, and then written down', async () => {
    const path = await run('inputs', 1, { inputs, place });
    const changed = { inputs: { ...inputs, 'model unet': b, node: 'v22.1.0' }, place };
    await expect(goOn(path, changed)).rejects.toThrow(
      /would not go on as it was begun; this has changed since: model unet aaaaaaaaaaaa → bbbbbbbbbbbb; node v20\.0\.0 → v22\.1\.0\. .*--force/);
    expect(JSON.parse(readFileSync(join(path, 'manifest.json'), 'utf8'))).toEqual({ inputs, place });
    const merged = await goOn(path, changed, true);
    expect(merged.changes).toEqual([
      { time: expect.any(String) as string, changed: { 'model unet': 'aaaaaaaaaaaa → bbbbbbbbbbbb', node: 'v20.0.0 → v22.1.0' } },
    ]);
    expect(told.join()).toMatch(/goes on with what has changed, as forced/);
    // From now on that is what it is computed with; the history stays.
    expect((await goOn(path, changed)).changes).toEqual(merged.changes);
    expect(told).toEqual([]);
    await expect(goOn(path, { inputs: { ...inputs, 'reward x': a }, place })).rejects.toThrow(/reward x none → aaaaaaaaaaaa/);
  });

  test('may have other threads, another device and another microbatch: told and written down', async () => {
    const path = await run('place', 1, { inputs, place });
    const moved = await goOn(path, { inputs, place: { device: 'cpu', threads: '8' } }, false, { ...config, threads: 8 });
    expect(told).toEqual([expect.stringMatching(/no longer the same to the last bit: threads 2 → 8/)]);
    expect(moved.changes?.[0]?.changed).toEqual({ threads: '2 → 8' });
    const cut = { device: 'cpu', threads: '8', microbatch: '2' };
    const smaller = await goOn(path, { inputs, place: cut }, false, { ...config, threads: 8, microbatch: 2 });
    expect(smaller.changes?.at(-1)?.changed).toEqual({ microbatch: 'none → 2' });
    await expect(open(path, true, { ...config, lr: 1 })).rejects.toThrow(/holds a run of other settings/);
  });

  test.each([
    ['no JSON', '{"inputs":', /manifest\.json: is damaged\. What the run was begun with.*--force/],
    ['no object', '[]', /is damaged/],
    ['inputs that are none', '{"inputs": "abc"}', /is damaged \(inputs is "abc", and must be a group of settings/],
    ['a digest that is none', '{"inputs": {"node": {}}}', /is damaged \(inputs\.node is \{\}, and must be a text\)/],
    ['changes that are none', '{"inputs": {}, "changes": 5}', /is damaged \(changes is 5, and must be a list: \[5\]\)/],
  ])('is damaged (%s): refused, unless forced', async (name, text, message) => {
    const path = await run(`damaged ${name}`, 1, { inputs, place });
    writeFileSync(join(path, 'manifest.json'), text);
    await expect(goOn(path, { inputs, place })).rejects.toThrow(message);
    expect(await goOn(path, { inputs, place }, true)).toEqual({ inputs, place });
    expect(told[0]).toMatch(message);
  });

  test('is not known of an older run: told, not refused', async () => {
    const path = await run('old', 1, {});
    expect(await goOn(path, { inputs, place })).toEqual({ inputs, place });
    expect(told).toEqual([expect.stringMatching(/was begun by a version that did not write down what it computes with/)]);
  });
});
