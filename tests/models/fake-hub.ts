/** @file A hub on this machine, as far as its API is used: repositories of files, any commit the same. */
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { vi } from 'vitest';

const COMMIT = 'c'.repeat(40);

export interface FakeHub {
  readonly url: string;
  readonly cache: string;
  /** By `org/name`, then by path. */
  readonly repositories: Map<string, Map<string, Buffer>>;
  /** Paths asked for since the cache was emptied. */
  readonly requests: string[];
  /** Headers of authorization that came. */
  readonly tokens: Set<string | undefined>;
  /** Answers in place of everything; null for none. */
  nonsense: string | null;
  /** Begins with an empty cache, and a environment in which only this hub is known. */
  reset(): Promise<void>;
  close(): Promise<void>;
}

const sha = (content: Buffer, algorithm: 'sha1' | 'sha256'): string => createHash(algorithm).update(content).digest('hex');

export async function openFakeHub(repositories: Map<string, Map<string, Buffer>>): Promise<FakeHub> {
  const server = createServer((request, response) => {
    const url = new URL(request.url!, 'http://localhost');
    const path = decodeURIComponent(url.pathname);
    hub.requests.push(path);
    hub.tokens.add(request.headers.authorization);
    if (hub.nonsense !== null) return void response.end(hub.nonsense);
    const [, api] = /^\/api\/models\/(.*)$/.exec(path) ?? [];
    const name = (api ?? path.slice(1)).split('/').slice(0, 2).join('/');
    const files = repositories.get(name);
    if (!files) return void response.writeHead(404).end('{"error":"Repository not found"}');
    const [, revision] = /\/revision\/(.+)$/.exec(api ?? '') ?? [];
    if (revision !== undefined) return void response.end(JSON.stringify({ id: name, sha: revision === 'main' ? COMMIT : revision }));
    if (api !== undefined) {
      return void response.end(JSON.stringify([...files].map(([file, content]) => ({
        type: 'file', path: file, size: content.length, oid: sha(content, 'sha1'),
        ...(!/\.(json|txt)$/.test(file) && { lfs: { oid: sha(content, 'sha256'), size: content.length } }),
      }))));
    }
    const content = files.get(path.split('/').slice(5).join('/'));
    if (!content) return void response.writeHead(404).end('{"error":"Entry not found"}');
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
    if (from === undefined) return void response.writeHead(200, { etag: '"e"' }).end(content);
    const [a, b] = [Number(from), Math.min(Number(to), content.length - 1)];
    return void response.writeHead(206, { etag: '"e"', 'content-range': `bytes ${a}-${b}/${content.length}` }).end(content.subarray(a, b + 1));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const hub = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    cache: '', repositories, requests: [] as string[], tokens: new Set<string | undefined>(), nonsense: null as string | null,
    async reset() {
      if (hub.cache !== '') await rm(hub.cache, { recursive: true });
      hub.cache = await mkdtemp(join(tmpdir(), 'attune-hub-'));
      const proxies = ['http_proxy', 'HTTP_PROXY', 'https_proxy', 'HTTPS_PROXY', 'all_proxy', 'ALL_PROXY'].map((key) => [key, ''] as const);
      const environment = { HF_HUB_CACHE: hub.cache, HF_HOME: hub.cache, HF_ENDPOINT: hub.url, HF_TOKEN: '', HF_HUB_OFFLINE: '', ...Object.fromEntries(proxies) };
      for (const [key, value] of Object.entries(environment)) vi.stubEnv(key, value);
      hub.requests.length = 0;
      hub.tokens.clear();
      hub.nonsense = null;
    },
    async close() {
      vi.unstubAllEnvs();
      if (hub.cache !== '') await rm(hub.cache, { recursive: true });
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return hub;
}
