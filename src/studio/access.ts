/**
 * @file Who may ask the studio's server for what: decided from a request's head alone, before any route is looked at.
 *
 * A page of any web site can send requests to a server on this machine. By a name that leads here (DNS rebinding) it could
 * even read the answers: hence the list of hosts. By cookies that browsers send along it could act as the user: hence the
 * token, SameSite=Strict, and Sec-Fetch-Site for whatever changes something.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';

export interface Gate {
  readonly port: number;
  /** Names by which the server may be called, without port, beside those of this machine itself. */
  readonly hosts: readonly string[];
  readonly token: string;
}

/** 128 random bits. */
export const newToken = (): string => randomBytes(16).toString('base64url');

/** The cookie's name has the port in it: browsers keep cookies by host alone. */
const cookieName = ({ port }: Gate): string => `attune_${port}`;

/** What is to become of a request: let in; sent on with a cookie; or refused, saying why. */
export type Ruling =
  | { readonly kind: 'in' }
  | { readonly kind: 'cookie'; readonly cookie: string; readonly location: string }
  | { readonly kind: 'refused'; readonly status: 400 | 401 | 403 | 405 | 415 | 421; readonly text: string };

export interface Asked {
  readonly method: string;
  readonly url: URL;
  readonly headers: IncomingHttpHeaders;
}

const LOCAL = ['localhost', '127.0.0.1', '[::1]'];

function same(given: string | undefined, token: string): boolean {
  const [a, b] = [Buffer.from(given ?? ''), Buffer.from(token)];
  return a.length === b.length && timingSafeEqual(a, b);
}

function cookieOf({ cookie = '' }: IncomingHttpHeaders, name: string): string | undefined {
  return cookie.split(';').map((part) => part.trim().split('=')).find(([key]) => key === name)?.[1];
}

const refused = (status: Extract<Ruling, { kind: 'refused' }>['status'], text: string): Ruling => ({ kind: 'refused', status, text });

export function ruling({ method, url, headers }: Asked, gate: Gate): Ruling {
  const named = [...LOCAL, ...gate.hosts].flatMap((name) => [`${name}:${gate.port}`, ...(gate.port === 80 ? [name] : [])]);
  if (!named.includes((headers.host ?? '').toLowerCase())) {
    return refused(421, `this server is not called ${headers.host ?? 'that'}; if it is to be, start it with --allowed-host`);
  }
  const reads = method === 'GET' || method === 'HEAD';
  if (!reads && method !== 'POST') return refused(405, 'GET and POST alone are known here');
  const token = url.searchParams.get('token');
  if (method === 'GET' && token !== null) {
    if (!same(token, gate.token)) return refused(401, 'that is not the token of this studio; open the address that it printed');
    const clean = new URL(url);
    clean.searchParams.delete('token');
    return {
      kind: 'cookie', cookie: `${cookieName(gate)}=${gate.token}; HttpOnly; SameSite=Strict; Path=/`, location: `${clean.pathname}${clean.search}`,
    };
  }
  const bearer = /^Bearer (\S+)$/.exec(headers.authorization ?? '')?.[1];
  if (!same(cookieOf(headers, cookieName(gate)), gate.token) && !same(bearer, gate.token)) {
    return refused(401, 'open the address that attune studio printed: it has a token in it');
  }
  return reads ? { kind: 'in' } : changing(headers, bearer !== undefined);
}

/** What changes something comes from our own page, or from a program that has the token, and is JSON. */
function changing(headers: IncomingHttpHeaders, bearer: boolean): Ruling {
  const site = headers['sec-fetch-site'];
  const origin = headers.origin;
  const ours = site === undefined
    ? (origin === undefined ? bearer : origin === `http://${headers.host}`)
    : site === 'same-origin' && (origin === undefined || origin === `http://${headers.host}`);
  if (!ours) return refused(403, 'only the studio\'s own page may do that');
  if (!/^application\/json\s*(?:;|$)/.test(headers['content-type'] ?? '')) return refused(415, 'only application/json is taken');
  return { kind: 'in' };
}
