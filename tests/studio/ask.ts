/** @file A client that sends whatever it likes: no browser would let it set such heads. */
import { request } from 'node:http';
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';
import type { Studio } from '../../src/studio/server.js';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly bytes: Buffer;
  readonly text: string;
}

export interface Asked {
  readonly method?: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string;
}

/** Sends a request as it is. */
export function raw({ port }: Pick<Studio, 'port'>, path: string, { method = 'GET', headers = {}, body }: Asked = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port, path, method, headers: { host: `127.0.0.1:${port}`, ...headers }, agent: false }, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('error', reject);
      response.on('end', () => {
        const bytes = Buffer.concat(parts);
        resolve({ status: response.statusCode!, headers: response.headers, bytes, text: bytes.toString() });
      });
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

/** As our own page. */
export const asPage = ({ port, token }: Studio): OutgoingHttpHeaders =>
  ({ cookie: `attune_${port}=${token}`, 'sec-fetch-site': 'same-origin', origin: `http://127.0.0.1:${port}`, 'content-type': 'application/json' });

export const get = (studio: Studio, path: string): Promise<Answer> => raw(studio, path, { headers: asPage(studio) });
export const post = (studio: Studio, path: string, body: unknown): Promise<Answer> =>
  raw(studio, path, { method: 'POST', headers: asPage(studio), body: typeof body === 'string' ? body : JSON.stringify(body) });
