import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { fetchConfigs, fetchFiles, fetchSnapshot, pipelineFiles } from '../../src/loading/hub.js';
import { hubFetch } from '../../src/loading/hub-fetch.js';
import type { Bounds } from '../../src/loading/hub-fetch.js';
import { loadPipeline } from '../../src/loading/load.js';

const pipeline = fileURLToPath(new URL('../fixtures/pipeline_sd1', import.meta.url));
const COMMIT = 'c'.repeat(40);
const REPOSITORY = 'tests/tiny';

/** A hub with one repository, the tiny pipeline, as far as its API is used. */
const hub = {
  files: new Map<string, Buffer>(),
  requests: [] as string[],
  tokens: new Set<string | undefined>(),
  /** Sends other bytes than the hash that is announced. */
  damage: null as string | null,
};
let server: Server;
let cache: string;

const sha = (content: Buffer, algorithm: 'sha1' | 'sha256'): string =>
  createHash(algorithm).update(content).digest('hex');

interface Answer {
  status: number;
  body?: Buffer | string;
  headers?: Record<string, string>;
}

function answer(url: URL, range: string | undefined): Answer {
  const path = decodeURIComponent(url.pathname);
  const api = `/api/models/${REPOSITORY}`;
  if (path === `${api}/revision/main`) return { status: 200, body: JSON.stringify({ id: REPOSITORY, sha: COMMIT }) };
  if (path.startsWith(`${api}/tree/${COMMIT}`)) {
    const entries = [...hub.files].map(([name, content]) => ({
      type: 'file', path: name, size: content.length, oid: sha(content, 'sha1'),
      ...(name.endsWith('.safetensors') && { lfs: { oid: sha(content, 'sha256'), size: content.length } }),
    }));
    return { status: 200, body: JSON.stringify(entries) };
  }
  const name = path.split(`/${REPOSITORY}/resolve/${COMMIT}/`)[1];
  const content = name === undefined ? undefined : hub.files.get(name);
  if (!content || name === undefined) return { status: 404, body: '{"error":"Repository not found"}' };
  const sent = name === hub.damage ? Buffer.alloc(content.length) : content;
  const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(range ?? '') ?? [];
  if (from === undefined) return { status: 200, body: sent, headers: { etag: '"e"' } };
  const [a, b] = [Number(from), Math.min(Number(to), content.length - 1)];
  const headers = { etag: '"e"', 'content-range': `bytes ${a}-${b}/${content.length}` };
  return { status: 206, body: sent.subarray(a, b + 1), headers };
}

beforeAll(async () => {
  for (const name of await readdir(pipeline, { recursive: true })) {
    if (!/\.(json|txt|safetensors)$/.test(name)) continue;
    hub.files.set(name.replaceAll('\\', '/'), await readFile(join(pipeline, name)));
  }
  hub.files.set('unet/diffusion_pytorch_model.fp16.safetensors', Buffer.from('not wanted'));
  hub.files.set('v1.ckpt', Buffer.from('not wanted'));
  hub.files.set('../../escape.json', Buffer.from('not wanted'));
  server = createServer((request, response) => {
    const url = new URL(request.url!, 'http://localhost');
    hub.requests.push(url.pathname);
    hub.tokens.add(request.headers.authorization);
    const { status, body = '', headers = {} } = answer(url, request.headers.range);
    response.writeHead(status, headers).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterAll(() => new Promise((resolve) => server.close(resolve)));
beforeEach(async () => {
  cache = await mkdtemp(join(tmpdir(), 'attune-hub-'));
  vi.stubEnv('HF_HUB_CACHE', cache);
  vi.stubEnv('HF_ENDPOINT', `http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  vi.stubEnv('HF_HOME', cache); // where no token lies
  vi.stubEnv('HF_TOKEN', '');
  for (const name of ['http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY']) vi.stubEnv(name, '');
  vi.stubEnv('HF_HUB_OFFLINE', '');
  Object.assign(hub, { requests: [], damage: null });
  hub.tokens.clear();
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(cache, { recursive: true });
});

describe('a model of the hub', () => {
  test('is downloaded once into the cache that Python uses, then found there, also offline', async () => {
    const progress: [number, number][] = [];
    const printed = vi.spyOn(process.stdout, 'write');
    const folder = await fetchSnapshot(REPOSITORY, { bytes: (done, total) => progress.push([done, total]) });
    expect(printed).not.toHaveBeenCalled();
    printed.mockRestore();
    const storage = join(cache, 'models--tests--tiny');
    expect(folder).toBe(join(storage, 'snapshots', COMMIT));
    expect(await readFile(join(storage, 'refs', 'main'), 'utf8')).toBe(COMMIT);
    const weights = 'unet/diffusion_pytorch_model.safetensors';
    const blob = sha(hub.files.get(weights)!, 'sha256');
    expect(await readlink(join(folder, weights))).toBe(`../../../blobs/${blob}`);
    expect(progress.at(-1)![0]).toBe(progress.at(-1)![1]);
    expect((await readdir(folder)).toSorted()).toEqual(
      ['model_index.json', 'scheduler', 'text_encoder', 'tokenizer', 'unet', 'vae']);
    expect(await readdir(join(folder, 'unet'))).not.toContain('diffusion_pytorch_model.fp16.safetensors');

    hub.requests.length = 0;
    vi.stubEnv('HF_HUB_OFFLINE', '1');
    const loaded = await loadPipeline(REPOSITORY);
    expect(hub.requests).toEqual([]);
    expect(loaded.source).toBe(REPOSITORY);
    expect(loaded.weights.size).toBeGreaterThan(500);
  });

  test('that a single file is like lends its configuration and tokenizer, not its weights', async () => {
    const file = join(pipeline, '../single_file_sd1.safetensors');
    const single = await loadPipeline(file, { like: REPOSITORY });
    expect(single.weights.size).toBeGreaterThan(500);
    expect(single.scheduler).toEqual(JSON.parse(hub.files.get('scheduler/scheduler_config.json')!.toString()));
    expect(hub.requests.filter((path) => path.endsWith('.safetensors'))).toEqual([]);
    vi.stubEnv('HF_HUB_OFFLINE', '1');
    await fetchConfigs(REPOSITORY);
    await expect(loadPipeline(REPOSITORY)).rejects.toThrow(/not completely in the cache/);
  });

  test('lends its VAE alone', async () => {
    const { weights } = await loadPipeline(pipeline, { vae: REPOSITORY });
    expect(weights.size).toBeGreaterThan(500);
    const fetched = hub.requests.filter((path) => path.includes('/resolve/')).map((path) => path.split(`${COMMIT}/`)[1]);
    expect(new Set(fetched)).toEqual(new Set(['vae/config.json', 'vae/diffusion_pytorch_model.safetensors']));
  });

  test('that Python left incomplete gets what is missing, and nothing else', async () => {
    const folder = await fetchSnapshot(REPOSITORY);
    await rm(join(folder, 'vae', 'config.json'));
    hub.requests.length = 0;
    await fetchSnapshot(REPOSITORY);
    expect(hub.requests.filter((path) => path.includes('/resolve/'))).toEqual([]); // the blob is still there
    expect(await readFile(join(folder, 'vae', 'config.json'), 'utf8')).toContain('AutoencoderKL');
  });

  test('is asked for with the token of HF_TOKEN', async () => {
    vi.stubEnv('HF_TOKEN', 'hf_secret');
    await fetchFiles(REPOSITORY, ['model_index.json']);
    expect([...hub.tokens]).toEqual(['Bearer hf_secret']);
  });

  test('that arrives damaged leaves nothing behind', async () => {
    hub.damage = 'vae/diffusion_pytorch_model.safetensors';
    await expect(fetchSnapshot(REPOSITORY)).rejects.toThrow(/diffusion_pytorch_model\.safetensors: arrived damaged/);
    const blobs = await readdir(join(cache, 'models--tests--tiny', 'blobs'));
    expect(blobs).not.toContain(sha(hub.files.get(hub.damage)!, 'sha256'));
    expect(blobs.filter((name) => name.endsWith('.tmp'))).toEqual([]);
    await expect(readFile(join(cache, 'models--tests--tiny', 'refs', 'main'))).rejects.toThrow(/ENOENT/);
  });

  test('that does not exist, cannot be reached or is not cached says what to do', async () => {
    await expect(fetchSnapshot('tests/other')).rejects.toThrow(/tests\/other: cannot be fetched.*Check the name/);
    await expect(fetchFiles(REPOSITORY, ['nothing.json'])).rejects.toThrow(/does not hold what is needed/);
    vi.stubEnv('HF_ENDPOINT', 'http://127.0.0.1:9');
    await expect(fetchSnapshot(REPOSITORY)).rejects.toThrow(/Check the network, HTTPS_PROXY and HF_ENDPOINT/);
    vi.stubEnv('HF_HUB_OFFLINE', 'true');
    await expect(fetchSnapshot(REPOSITORY)).rejects.toThrow(/HF_HUB_OFFLINE is set/);
  });
});

describe('answers are bounded', () => {
  /** A hub that answers with endless bytes, or with a few and then none. */
  async function wild(answer: 'endless' | 'silent' | 'dripping' | 'pages', bounds: Bounds): Promise<unknown> {
    const wildServer = createServer((request, response) => {
      const link = /cursor=(\d+)/.exec(request.url!)?.[1] ?? '0';
      response.on('error', () => {});
      if (answer === 'pages') {
        const next = `<http://${request.headers.host!}/api/models/a/b/tree/main?cursor=${Number(link) + 1}>; rel="next"`;
        response.writeHead(200, { 'content-type': 'application/json', link: next }).end('[]');
        return;
      }
      response.writeHead(200, { 'content-type': 'application/json' }).write('[');
      if (answer === 'silent') return;
      const piece = ' '.repeat(answer === 'endless' ? 65536 : 1);
      const timer = setInterval(() => response.write(piece), 20);
      response.on('close', () => clearInterval(timer));
    });
    await new Promise<void>((resolve) => wildServer.listen(0, '127.0.0.1', resolve));
    const endpoint = `http://127.0.0.1:${(wildServer.address() as AddressInfo).port}`;
    try {
      const send = await hubFetch(endpoint, undefined, bounds);
      if (answer !== 'pages') return await (await send(`${endpoint}/api/models/a/b`)).json();
      const { listFiles } = await import('@huggingface/hub');
      for await (const _ of listFiles({ repo: 'a/b', hubUrl: endpoint, fetch: send })) throw new Error('there are none');
      return undefined;
    } finally {
      wildServer.closeAllConnections();
      await new Promise((resolve) => wildServer.close(resolve));
    }
  }
  const bounds = { answerBytes: 100_000, answers: 5, seconds: 0.3 };

  test.each([
    ['endless', /longer than 100000 bytes/], ['silent', /nothing came for 0.3 seconds/], ['dripping', /nothing came for 0.3 seconds/],
    ['pages', /does not come to an end after 5 answers/],
  ] as const)('%s', async (kind, message) => {
    await expect(wild(kind, bounds)).rejects.toThrow(message);
  });

  test('a file may take any time as long as it goes on, and no longer than that', async () => {
    let silent = false;
    const slow = createServer((_, response) => {
      let left = 20;
      response.writeHead(200, { 'content-length': '20' });
      const timer = setInterval(() => {
        if (!silent || left > 10) response.write('x');
        if (--left === 0) clearInterval(timer);
      }, 30);
      response.on('close', () => clearInterval(timer));
    });
    await new Promise<void>((resolve) => slow.listen(0, '127.0.0.1', resolve));
    const endpoint = `http://127.0.0.1:${(slow.address() as AddressInfo).port}`;
    const send = await hubFetch(endpoint, undefined, { ...bounds, seconds: 0.4 });
    expect(await (await send(`${endpoint}/a/b/resolve/main/file`)).text()).toBe('x'.repeat(20)); // 0.6 s in all
    silent = true;
    await expect((await send(`${endpoint}/a/b/resolve/main/file`)).text()).rejects.toThrow(/nothing came for 0.4 seconds/);
    slow.closeAllConnections();
    await new Promise((resolve) => slow.close(resolve));
  });
});

describe('the files that are fetched', () => {
  const base = ['model_index.json', 'scheduler/scheduler_config.json', 'tokenizer/vocab.json', 'vae/config.json',
    'vae/diffusion_pytorch_model.safetensors', 'text_encoder/config.json', 'text_encoder/model.safetensors',
    'unet/config.json'];

  test('are the plain ones, else fp16, or the variant that is asked for', () => {
    const plain = 'unet/diffusion_pytorch_model.safetensors';
    const half = 'unet/diffusion_pytorch_model.fp16.safetensors';
    expect(pipelineFiles([...base, plain, half])).toEqual(expect.arrayContaining([...base, plain]));
    expect(pipelineFiles([...base, plain, half])).not.toContain(half);
    expect(pipelineFiles([...base, half])).toContain(half);
    expect(pipelineFiles([...base, plain], 'fp16')).toBeNull();
  });

  test('are all shards with their index', () => {
    const index = 'unet/diffusion_pytorch_model.safetensors.index.json';
    const shards = [1, 2].map((i) => `unet/diffusion_pytorch_model-0000${i}-of-00002.safetensors`);
    expect(pipelineFiles([...base, index, ...shards])).toEqual(expect.arrayContaining([index, ...shards]));
    expect(pipelineFiles([...base, ...shards])).toBeNull();
  });

  test('are PyTorch files where there are no others', () => {
    const [bin, half] = ['unet/diffusion_pytorch_model.bin', 'unet/diffusion_pytorch_model.fp16.safetensors'] as const;
    expect(pipelineFiles([...base, bin])).toEqual(expect.arrayContaining([...base, bin]));
    expect(pipelineFiles([...base, bin, half])).not.toContain(bin);
    const index = 'unet/diffusion_pytorch_model.bin.index.json';
    const shard = 'unet/diffusion_pytorch_model-00001-of-00001.bin';
    expect(pipelineFiles([...base, index, shard])).toEqual(expect.arrayContaining([index, shard]));
    expect(pipelineFiles([...base, 'unet/other.bin'])).toBeNull();
  });
});
