import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { parseLora } from '../../src/cli/option-values.js';
import { readLora } from '../../src/formats/lora-file.js';
import { findLora } from '../../src/loading/find-lora.js';

const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url));
const COMMIT = 'd'.repeat(40);

/** Repositories by name: their files. */
const repositories = new Map<string, Map<string, Buffer>>();
let requests: string[];
let server: Server;
let cache: string;

const sha = (content: Buffer, algorithm: 'sha1' | 'sha256'): string => createHash(algorithm).update(content).digest('hex');

/** As much of the hub as is asked for. */
function answer(path: string, range: string | undefined): { status: number; body?: Buffer | string; headers?: Record<string, string> } {
  const [, name] = /^\/(?:api\/models\/)?([^/]+\/[^/]+)\//.exec(path) ?? [];
  const files = repositories.get(name ?? '');
  if (!files) return { status: 404, body: '{"error":"Repository not found"}' };
  if (path.includes('/revision/')) return { status: 200, body: JSON.stringify({ id: name, sha: COMMIT }) };
  if (path.includes('/tree/')) {
    return { status: 200, body: JSON.stringify([...files].map(([file, content]) => ({
      type: 'file', path: file, size: content.length, oid: sha(content, 'sha1'),
      ...(/\.(safetensors|bin)$/.test(file) && { lfs: { oid: sha(content, 'sha256'), size: content.length } }),
    }))) };
  }
  const content = files.get(path.split(`/resolve/${COMMIT}/`)[1] ?? '');
  if (!content) return { status: 404 };
  const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(range ?? '') ?? [];
  if (from === undefined) return { status: 200, body: content, headers: { etag: '"e"' } };
  const [a, b] = [Number(from), Math.min(Number(to), content.length - 1)];
  return { status: 206, body: content.subarray(a, b + 1), headers: { etag: '"e"', 'content-range': `bytes ${a}-${b}/${content.length}` } };
}

beforeAll(async () => {
  const file = (name: string): Promise<Buffer> => readFile(join(fixtures, name));
  const kohya = await file('lora_sd1_kohya.safetensors');
  repositories.set('people/style', new Map([['pytorch_lora_weights.safetensors', await file('lora_sd1_diffusers.safetensors')],
    ['style-v2.safetensors', kohya], ['README.md', Buffer.from('hello')]]));
  const adapter = await Promise.all(['adapter_config.json', 'adapter_model.safetensors'].map(async (name) =>
    [name, await file(`lora_sd1_peft/${name}`)] as const));
  repositories.set('people/adapter', new Map(adapter.flatMap(([name, content]) => [[name, content], [`unet/${name}`, content]])));
  repositories.set('people/other', new Map([['mine.safetensors', kohya]]));
  server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url!, 'http://localhost').pathname);
    requests.push(path);
    const { status, body = '', headers = {} } = answer(path, request.headers.range);
    response.writeHead(status, headers).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterAll(() => new Promise((resolve) => server.close(resolve)));
beforeEach(async () => {
  cache = await mkdtemp(join(tmpdir(), 'attune-lora-hub-'));
  vi.stubEnv('HF_HUB_CACHE', cache);
  vi.stubEnv('HF_ENDPOINT', `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  vi.stubEnv('HF_TOKEN', '');
  vi.stubEnv('HF_HUB_OFFLINE', '');
  requests = [];
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(cache, { recursive: true });
});

test.each([
  ['people/style', 'diffusers'], ['people/style/style-v2.safetensors', 'kohya'], ['people/adapter', 'peft'],
  ['people/adapter/unet', 'peft'], ['people/adapter/adapter_model.safetensors', 'peft'],
])('%s is fetched from the hub', async (name, dialect) => {
  const reading = await readLora(await findLora(parseLora(`${name}:0.5`).path));
  expect([reading.dialect, reading.lora.layers.size]).toEqual([dialect, 128]);
  requests = [];
  vi.stubEnv('HF_HUB_OFFLINE', '1'); // it lies in the cache now
  await readLora(await findLora(name));
  await expect(findLora('people/other')).rejects.toThrow(/people\/other: is not completely in the cache/);
  expect(requests).toEqual([]);
});

test('a revision and a strength are told from the name', () => {
  expect(parseLora('people/style@v1.0:0.8')).toEqual({ path: 'people/style@v1.0', strength: 0.8 });
  expect(parseLora('people/style/style-v2.safetensors')).toEqual({ path: 'people/style/style-v2.safetensors', strength: 1 });
});

test('a revision is asked of the hub', async () => {
  expect(await findLora('people/style@refs/pr/1')).toContain(join('models--people--style', 'snapshots', COMMIT));
  expect(requests[0]).toBe('/api/models/people/style/revision/refs/pr/1');
  await expect(findLora('people/style@../x')).rejects.toThrow(/^people\/style@\.\.\/x: is no hub id/);
});

test('a repository with other files asks for the name of one', async () => {
  await expect(findLora('people/other')).rejects.toThrow(/^people\/other: holds no LoRA under a usual name.*Name the file/);
  await expect(findLora('people/nobody')).rejects.toThrow(/people\/nobody: cannot be fetched from the hub/);
  expect(requests.filter((path) => path.includes('nobody'))).toHaveLength(1);
});

test('what is a path is never asked of the hub', async () => {
  const here = process.cwd();
  process.chdir(cache);
  try {
    await mkdir('runs/first', { recursive: true });
    expect(await findLora('runs/first')).toBe('runs/first');
    for (const name of ['runs/frist', 'style.safetensors', 'a/b.safetensors', './people/style', '/people/style', 'C:\\x\\y']) {
      await expect(findLora(name)).rejects.toThrow(/does not exist\. Check the path/);
    }
  } finally {
    process.chdir(here);
  }
  expect(requests).toEqual([]);
  expect(await readdir(cache)).toEqual(['runs']);
});
