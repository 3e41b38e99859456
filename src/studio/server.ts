/** @file The studio's server: one process over a folder of runs, without a store of its own. */
import { createServer } from 'node:http';
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { ConfigError } from '../formats/errors.js';
import { withoutSecrets } from '../formats/url-secrets.js';
import { newToken, ruling } from './access.js';
import type { Gate } from './access.js';
import { openJudge } from './judge.js';
import { openLauncher } from './launcher.js';
import { pageFiles } from './page-files.js';
import { openPictures } from './pictures.js';
import { openQueue } from './queue.js';
import { HEADERS, Refusal, send, sendText } from './reply.js';
import { answer } from './routes.js';
import type { Parts } from './routes.js';
import { openRunIndex } from './run-index.js';

export interface StudioOptions {
  /** Folder of runs; there need not be one yet. */
  readonly runs: string;
  /** 0 for one that is free. */
  readonly port: number;
  /** Default: this machine alone. */
  readonly host?: string | undefined;
  /** Names by which it may be called beside those of this machine. */
  readonly allowedHosts?: readonly string[];
  readonly token?: string | undefined;
  /** Folders that files are chosen from. Default: the current one. */
  readonly roots?: readonly string[];
}

export interface Studio {
  readonly port: number;
  readonly token: string;
  /** With the token in it. */
  readonly url: string;
  /** Ends at once. Runs that were started go on. */
  close(): Promise<void>;
}

const LOCAL = '127.0.0.1';

/** Listens. @throws ConfigError if the port is taken or the address is not this machine's */
async function listening(listener: RequestListener, host: string, port: number): Promise<Server> {
  const server = createServer({ maxHeaderSize: 16_384 }, listener);
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, host, resolve)).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'EADDRINUSE') throw new ConfigError(`port ${port} is taken, perhaps by another studio; give another with --port (0: any that is free)`);
    throw new ConfigError(`cannot listen at ${host}:${port}: ${error.message}`, { cause: error });
  });
  return server;
}

/** @throws ConfigError as `listening`; FormatError if the page is missing */
export async function openStudio({ runs, port, host = LOCAL, allowedHosts = [], token = newToken(), roots = ['.'] }: StudioOptions): Promise<Studio> {
  const files = await pageFiles();
  const index = openRunIndex(runs);
  const closing = new AbortController();
  const launcher = openLauncher(index);
  const queue = openQueue(index, launcher);
  const parts: Parts = { index, launcher, queue, judge: openJudge(index), roots, pictures: openPictures(index), signal: closing.signal };
  let gate: Gate = { port, hosts: allowedHosts, token };

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = URL.canParse(request.url ?? '', 'http://studio') ? new URL(request.url!, 'http://studio') : null;
    if (!url || !request.url!.startsWith('/')) return sendText(response, 'the address is not one', 400);
    const verdict = ruling({ method: request.method ?? '', url, headers: request.headers }, gate);
    if (verdict.kind === 'refused') return sendText(response, verdict.text, verdict.status);
    if (verdict.kind === 'cookie') {
      response.writeHead(303, { ...HEADERS, 'cache-control': 'no-store', 'set-cookie': verdict.cookie, location: verdict.location }).end();
      return undefined;
    }
    const file = request.method === 'POST' ? undefined : files.get(url.pathname);
    return file ? send(response, 200, file.type, file.bytes, { 'cache-control': 'no-cache' }) : answer(parts, request, response, url);
  }

  const listener: RequestListener = (request, response) => {
    handle(request, response).catch((error: unknown) => {
      if (response.headersSent) return response.destroy();
      const known = error instanceof Refusal || (error instanceof Error && ['ConfigError', 'FormatError', 'RewardSpecError'].includes(error.name));
      const text = withoutSecrets(error instanceof Error ? error.message : String(error));
      if (!known) process.stderr.write(`${request.method} ${url(request)}: ${error instanceof Error ? error.stack : text}\n`);
      return sendText(response, known ? text : `the studio failed at this: ${text}`, error instanceof Refusal ? error.status : known ? 400 : 500);
    });
  };
  const url = (request: IncomingMessage): string => (request.url ?? '').replace(/\?.*/, '');

  const first = await listening(listener, host, port);
  gate = { ...gate, port: (first.address() as AddressInfo).port };
  // Where there is IPv6, `localhost` may mean that.
  const second = host === LOCAL ? await listening(listener, '::1', gate.port).catch(() => null) : null;
  return {
    port: gate.port, token,
    url: `http://${host === LOCAL ? LOCAL : host.includes(':') ? `[${host}]` : host}:${gate.port}/?token=${token}`,
    async close() {
      closing.abort();
      launcher.close();
      await queue.close();
      for (const server of [first, second]) {
        server?.close();
        server?.closeAllConnections();
      }
    },
  };
}
