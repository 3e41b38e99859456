/** @file Hostile files as a reward is given them, and a judge whose words reach a run's folder without its key. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { openRewards, parseReward } from '../../src/rewards/registry.js';
import { openScorer } from '../../src/rewards/scorer.js';
import { openRunFolder } from '../../src/runs/folder.js';
import { resolveConfig } from '../../src/training/config.js';
import { scratch } from '../cli/helpers.js';
import { torchFile, zip } from '../formats/helpers.js';
import type { Py } from '../formats/helpers.js';
import { pictures } from './helpers.js';

const root = scratch();
afterEach(() => vi.unstubAllEnvs());

const MARK = join(root, 'pwned');
const code = torchFile(new Map<Py, Py>([['w', { call: { global: 'os.system' }, args: [`touch ${MARK}`] }]]), {});
/** A legacy pickle of protocol 0 that calls os.system. */
const old = Buffer.from(`cos\nsystem\n(S'touch ${MARK}'\ntR.`, 'latin1');
/** A zip whose directory says that its pickle is packed: what it unpacks to nobody knows. */
const bomb = (() => {
  const bytes = Buffer.from(zip({ 'a/data.pkl': Buffer.alloc(64) }));
  bytes.writeUInt16LE(8, bytes.indexOf(Buffer.from('PK\x01\x02', 'latin1')) + 10);
  return bytes;
})();
/** Whose directory says that an entry is larger than the file. */
const swollen = (() => {
  const bytes = Buffer.from(zip({ 'a/data.pkl': Buffer.alloc(64) }));
  const at = bytes.indexOf(Buffer.from('PK\x01\x02', 'latin1'));
  for (const field of [20, 24]) bytes.writeUInt32LE(0xfffffff0, at + field);
  return bytes;
})();

const FILES: readonly (readonly [string, Buffer, RegExp])[] = [
  ['code', code, /such as "os\.system"/], ['an old pickle with code', old, /is not a PyTorch file|os\.system|not a safetensors file/],
  ['packed entries', bomb, /is compressed/], ['entries larger than the file', swollen, /./],
];
const SPECS: readonly (readonly [string, (file: string) => string])[] = [
  ['image-reward', (file) => `image-reward?file=${file}&vocab=${join(import.meta.dirname, '..', 'fixtures', 'wordpiece.txt')}`],
  ['hpsv2', (file) => `hpsv2?file=${file}&tokenizer=${join(import.meta.dirname, '..', '..', 'models', 'emoji', 'tokenizer')}`],
  ['aesthetic', (file) => `aesthetic?head=${file}&clip=${join(import.meta.dirname, '..', 'fixtures', 'preference_pickscore')}`],
];

test.each(SPECS.flatMap(([name, spec]) => FILES.map(([what, bytes, reason]) => [name, what, spec, bytes, reason] as const)))(
  '%s with %s: refused by the file\'s name, and nothing is run', async (name, what, spec, bytes, reason) => {
    const file = join(root, `${name} ${what}.pt`);
    writeFileSync(file, bytes);
    const failure = await openRewards([parseReward(spec(file))]).then(() => null, (error: unknown) => error as Error);
    expect(failure?.name).toBe('FormatError');
    expect(failure!.message).toContain(file);
    expect(failure!.message).toMatch(reason);
    expect(existsSync(MARK)).toBe(false);
  });

test('a judge that repeats its key: neither configuration, log nor manifest of a run has it', async () => {
  const KEY = 'sk-very-secret-1234';
  vi.stubEnv('JUDGE_KEY', KEY);
  const server = createServer((request, response) => void response.writeHead(401).end(`unknown key ${request.headers.authorization}`));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const spec = `vlm-judge?url=http://127.0.0.1:${(server.address() as AddressInfo).port}/v1&model=m&keyFrom=JUDGE_KEY`;
  const folder = await openRunFolder(join(root, 'run'), resolveConfig({ rewards: [spec] }, []), { resume: false, warn: () => {} });
  try {
    await folder.begin({});
    const reward = await openRewards([parseReward(spec)], { downloads: { warn: folder.progress.warn } });
    const error = await openScorer(reward).score(pictures(1, 8), ['a cat']).catch((e: unknown) => e);
    expect(String(error)).toContain('refuses with status 401: unknown key Bearer …');
    await folder.stop(error);
  } finally {
    await folder.close();
    server.closeAllConnections();
    server.close();
  }
  const texts = readdirSync(join(root, 'run')).map((name) => readFileSync(join(root, 'run', name), 'utf8')).join('\n');
  expect(texts).toContain('keyFrom=JUDGE_KEY');
  expect(texts).toContain('refuses with status 401');
  expect(texts).not.toContain(KEY);
});
