/** @file How the hub is reached: tokens and whom they are sent to, proxies, revisions, folders of the cache. */
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { fetchFiles, insideCache } from '../../src/loading/hub.js';
import { hubCache, hubEndpoint, hubToken, proxyFor } from '../../src/loading/hub-environment.js';
import { loadPipeline } from '../../src/loading/load.js';

const COMMIT = 'c'.repeat(40);
const CONTENT = Buffer.from('{"a": 1}');
const SHA = createHash('sha256').update(CONTENT).digest('hex');
/** Servers and who asked them for what with which token. */
const asked: { server: string; request: string; token: string | undefined }[] = [];
const servers: Server[] = [];
let cache: string;

async function listening(name: string, answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server = createServer((request, response) => {
    asked.push({ server: name, request: `${request.method} ${request.url}`, token: request.headers.authorization });
    answer(request, response);
  });
  server.on('connect', (request, socket) => {
    asked.push({ server: name, request: `CONNECT ${request.url}`, token: request.headers.authorization });
    socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n');
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function sendFile({ headers: { range } }: IncomingMessage, response: ServerResponse): void {
  const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(range ?? '') ?? [];
  if (from === undefined) return void response.writeHead(200, { etag: '"e"' }).end(CONTENT);
  const end = Math.min(Number(to), CONTENT.length - 1);
  response.writeHead(206, { etag: '"e"', 'content-range': `bytes ${from}-${end}/${CONTENT.length}` })
    .end(CONTENT.subarray(Number(from), end + 1));
}

/** A hub with one file, which it sends the reader elsewhere for; the list of files goes on elsewhere too. */
function answerAsHub(elsewhere: string | null, request: IncomingMessage, response: ServerResponse): void {
  const { pathname } = new URL(request.url!, 'http://x');
  const path = decodeURIComponent(pathname);
  if (/^\/api\/models\/org\/model\/revision\/(main|v1\.0|refs\/pr\/1|c{40})$/.test(path)) {
    return void response.end(JSON.stringify({ id: 'org/model', sha: COMMIT }));
  }
  if (path.startsWith('/api/models/org/model/tree/')) {
    const list = [{ type: 'file', path: 'model.json', size: CONTENT.length, oid: 'a'.repeat(40), lfs: { oid: SHA, size: CONTENT.length } }];
    return void response.writeHead(200, elsewhere === null ? {} : { link: `<${elsewhere}/more>; rel="next"` }).end(JSON.stringify(list));
  }
  if (!path.startsWith('/org/model/resolve/')) return void response.writeHead(404).end('{"error":"no"}');
  if (elsewhere === null) return sendFile(request, response);
  response.writeHead(302, { location: `${elsewhere}/file` }).end();
}

const urls = { hub: '', cdn: '', proxy: '' };
let cdnUsed = false;
beforeAll(async () => {
  urls.cdn = await listening('cdn', (request, response) => (request.url === '/more' ? response.end('[]') : sendFile(request, response)));
  const answer = (request: IncomingMessage, response: ServerResponse): void =>
    answerAsHub(cdnUsed ? urls.cdn : null, request, response);
  urls.hub = await listening('hub', answer);
  urls.proxy = await listening('proxy', answer); // it answers itself for the hub that it is asked for
});
afterAll(() => Promise.all(servers.map((server) => new Promise((resolve) => {
  server.closeAllConnections();
  server.close(resolve);
}))));

beforeEach(async () => {
  cache = await mkdtemp(join(tmpdir(), 'attune-hub-access-'));
  cdnUsed = false;
  asked.length = 0;
  const proxies = ['http', 'https', 'all', 'no'].map((kind) => `${kind}_proxy`);
  const names = ['HF_TOKEN', 'HUGGING_FACE_HUB_TOKEN', 'HF_TOKEN_PATH', 'HF_HUB_CACHE', 'HF_HUB_OFFLINE', 'HF_HUB_DISABLE_IMPLICIT_TOKEN'];
  for (const name of [...names, ...proxies, ...proxies.map((p) => p.toUpperCase())]) vi.stubEnv(name, '');
  vi.stubEnv('HF_HOME', cache);
  vi.stubEnv('HF_ENDPOINT', urls.hub);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(cache, { recursive: true });
});

const fetched = (name = 'org/model'): Promise<string> => fetchFiles(name, ['model.json']);
const tokens = (server: string): unknown[] => [...new Set(asked.filter((a) => a.server === server).map((a) => a.token))];

describe('the token', () => {
  test('of hf auth login is sent, HF_TOKEN_PATH and HF_TOKEN before it', async () => {
    await writeFile(join(cache, 'token'), 'hf_file\n');
    await fetched();
    expect(tokens('hub')).toEqual(['Bearer hf_file']);
    await writeFile(join(cache, 'other'), 'hf_other');
    vi.stubEnv('HF_TOKEN_PATH', join(cache, 'other'));
    expect(await hubToken()).toBe('hf_other');
    vi.stubEnv('HF_TOKEN', 'hf_given');
    expect(await hubToken()).toBe('hf_given');
    vi.stubEnv('HF_HUB_DISABLE_IMPLICIT_TOKEN', '1');
    expect(await hubToken()).toBeUndefined();
  });

  test('goes to the hub alone: not where it redirects to, nor to an address in its answers', async () => {
    vi.stubEnv('HF_TOKEN', 'hf_secret');
    cdnUsed = true;
    const folder = await fetched();
    expect(await readFile(join(folder, 'model.json'))).toEqual(CONTENT);
    expect(tokens('hub')).toEqual(['Bearer hf_secret']);
    expect(asked.filter((a) => a.server === 'cdn').map((a) => a.request)).toEqual(expect.arrayContaining(['GET /more', 'GET /file']));
    expect(tokens('cdn')).toEqual([undefined]);
  });

  test('that cannot be one is refused and not shown', async () => {
    vi.stubEnv('HF_TOKEN', 'hf_a\nhf_b');
    await expect(fetched()).rejects.toThrow(/^HF_TOKEN: is no token of the hub\. Log in anew with "hf auth login"\.$/);
  });
});

describe('a proxy', () => {
  test.each(['http_proxy', 'HTTP_PROXY', 'ALL_PROXY'])('of %s is asked for the hub, with the token', async (name) => {
    vi.stubEnv('HF_ENDPOINT', 'http://hub.invalid');
    vi.stubEnv('HF_TOKEN', 'hf_secret');
    vi.stubEnv(name, urls.proxy);
    expect(await readFile(join(await fetched(), 'model.json'))).toEqual(CONTENT);
    expect(asked[0]!.request).toMatch(/^GET http:\/\/hub\.invalid\/api\/models\/org\/model\/revision\/main/);
    expect(new Set(asked.map((a) => a.server))).toEqual(new Set(['proxy']));
    expect(tokens('proxy')).toEqual(['Bearer hf_secret']);
  });

  test('gets HTTPS as a tunnel, without the token', async () => {
    vi.stubEnv('HF_ENDPOINT', 'https://hub.invalid');
    vi.stubEnv('HF_TOKEN', 'hf_secret');
    vi.stubEnv('HTTPS_PROXY', urls.proxy);
    await expect(fetched()).rejects.toThrow(/cannot be fetched from the hub.*HTTPS_PROXY/);
    expect(asked).toEqual([{ server: 'proxy', request: 'CONNECT hub.invalid:443', token: undefined }]);
  });

  test('is not asked for what NO_PROXY names', async () => {
    vi.stubEnv('HTTP_PROXY', urls.proxy);
    vi.stubEnv('NO_PROXY', 'localhost, 127.0.0.1');
    await fetched();
    expect(new Set(asked.map((a) => a.server))).toEqual(new Set(['hub']));
  });

  test('is chosen as other programs choose it', () => {
    const at = (url: string, env: Record<string, string>): string | undefined => proxyFor(new URL(url), env);
    const both = { http_proxy: 'http://a:1', HTTPS_PROXY: 'b:2' };
    expect(at('http://x.org', both)).toBe('http://a:1');
    expect(at('https://x.org', both)).toBe('http://b:2');
    expect(at('https://x.org', { http_proxy: 'http://a:1' })).toBeUndefined();
    for (const no of ['x.org', '.x.org', '*.x.org', 'y, X.org', '*', 'x.org:443']) {
      expect(at('https://sub.x.org', { ...both, no_proxy: no }), no).toBeUndefined();
    }
    for (const no of ['', 'y.org', 'ax.org', 'x.org:80', 'sub']) {
      expect(at('https://sub.x.org', { ...both, no_proxy: no }), no).toBe('http://b:2');
    }
    expect(() => at('https://x.org', { https_proxy: 'socks5://me:secret@c:3' })).toThrow(/^HTTPS_PROXY: is not the address of an HTTP proxy\. Set it to http:\/\/host:port\.$/);
  });
});

describe('a revision', () => {
  test.each(['v1.0', 'refs/pr/1'])('%s is fetched, remembered under its name, and found offline', async (revision) => {
    const folder = await fetched(`org/model@${revision}`);
    expect(folder).toBe(join(cache, 'hub', 'models--org--model', 'snapshots', COMMIT));
    expect(await readFile(join(cache, 'hub', 'models--org--model', 'refs', revision), 'utf8')).toBe(COMMIT);
    vi.stubEnv('HF_HUB_OFFLINE', '1');
    expect(await fetched(`org/model@${revision}`)).toBe(folder);
    expect(await fetched(`org/model@${COMMIT}`)).toBe(folder);
    await expect(fetched()).rejects.toThrow(/not completely in the cache/);
  });

  test('that is a commit needs no name; one that is not there is told', async () => {
    await fetched(`org/model@${COMMIT}`);
    await expect(readFile(join(cache, 'hub', 'models--org--model', 'refs', COMMIT))).rejects.toThrow(/ENOENT/);
    await expect(fetched('org/model@none')).rejects.toThrow(/^org\/model@none: cannot be fetched.*the name and the revision/);
  });

  test('is part of a model\'s name', async () => {
    await expect(loadPipeline('org/model@v1.0')).rejects.toThrow(/^org\/model@v1\.0: does not hold what is needed/);
    await expect(loadPipeline('org/model@../x')).rejects.toThrow(/is no folder, file or hub id/);
  });
});

test('a model\'s folder in the cache, or its snapshots, is the model', async () => {
  const storage = join(cache, 'models--tests--tiny');
  const snapshots = join(storage, 'snapshots');
  await mkdir(snapshots, { recursive: true });
  const tiny = fileURLToPath(new URL('../fixtures/pipeline_sd1', import.meta.url));
  await symlink(tiny, join(snapshots, COMMIT));
  expect((await loadPipeline(storage)).source).toBe(storage);
  expect(await insideCache(`${snapshots}/`)).toBe(join(snapshots, COMMIT));
  await mkdir(join(snapshots, 'd'.repeat(40)));
  await expect(insideCache(storage)).rejects.toThrow(/holds 2 snapshots and no refs\/main\. Name one: /);
  await mkdir(join(storage, 'refs'));
  await writeFile(join(storage, 'refs', 'main'), 'd'.repeat(40));
  expect(await insideCache(storage)).toBe(join(snapshots, 'd'.repeat(40)));
  expect(await insideCache(tiny)).toBe(tiny);
});

test('the environment is read as Python reads it', () => {
  expect(hubCache({ HF_HUB_CACHE: '/c' })).toBe('/c');
  expect(hubCache({ HF_HOME: '/h' })).toBe(join('/h', 'hub'));
  expect(hubCache({ XDG_CACHE_HOME: '/x' })).toBe(join('/x', 'huggingface', 'hub'));
  expect(hubCache({ HF_HOME: '~/h' })).not.toContain('~');
  expect(() => hubEndpoint({ HF_ENDPOINT: 'hf-mirror' })).toThrow(/^HF_ENDPOINT: is not the address of a hub/);
});
