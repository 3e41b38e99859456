/** @file Answers of the studio's server: every one with the headers that keep a browser from doing more with it. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { z } from 'zod';
import { problemOf } from '../formats/plain-issues.js';

/** What a request cannot have, with the status that says so. */
export class Refusal extends Error {
  override readonly name = 'Refusal';

  constructor(readonly status: 400 | 404 | 409 | 413 | 503, message: string) {
    super(message);
  }
}

const POLICY = "default-src 'self'; img-src 'self' blob:; object-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

/** No header allows other origins anything. */
export const HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy': POLICY,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
};

type Headers = Readonly<Record<string, string>>;

export function send(response: ServerResponse, status: number, type: string, body: string | Uint8Array, headers: Headers = {}): void {
  const bytes = Buffer.from(body);
  response.writeHead(status, { ...HEADERS, 'cache-control': 'no-store', 'content-type': type, 'content-length': String(bytes.length), ...headers });
  response.end(response.req.method === 'HEAD' ? undefined : bytes);
}

export const sendJson = (response: ServerResponse, value: unknown, status = 200): void =>
  send(response, status, 'application/json; charset=utf-8', JSON.stringify(value));

export const sendText = (response: ServerResponse, text: string, status = 200): void =>
  send(response, status, 'text/plain; charset=utf-8', text);

/** Bytes of a request's body. */
const MOST_BODY = 2 ** 20;

/** The JSON object in a request's body. @throws Refusal if it is longer than 1 MB or none */
export async function readBody(request: IncomingMessage): Promise<Record<string, unknown>> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > MOST_BODY) throw new Refusal(413, `at most ${MOST_BODY} bytes are taken`);
    parts.push(part);
  }
  try {
    const value = JSON.parse(Buffer.concat(parts).toString('utf8')) as unknown;
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // told below
  }
  throw new Refusal(400, 'the body is no JSON object');
}

/** A body as its schema has it. @throws Refusal naming what is wrong */
export function taken<S extends z.ZodType>(schema: S, body: unknown): z.output<S> {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const { path, text } = problemOf(result.error, body);
  throw new Refusal(400, `${path || 'the request'}: ${text}`);
}
