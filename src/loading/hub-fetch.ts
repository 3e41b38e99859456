/** @file `fetch` for the hub: through the user's proxy, and with the user's token for the hub's own address alone. */
import type { Dispatcher } from 'undici';
import { readBounded } from '../formats/bounded-answer.js';
import { proxyFor } from './hub-environment.js';

/** What an answer of the hub may take; tests take less. */
export interface Bounds {
  /** Bytes of an answer that is no file: a page of a thousand files takes less than one MiB. */
  readonly answerBytes: number;
  /** Answers that are no files: pages of a listing, of which a repository has a few. */
  readonly answers: number;
  /** Seconds for such an answer as a whole, for a file to begin and for each further piece of it. */
  readonly seconds: number;
}

const BOUNDS: Bounds = { answerBytes: 8 * 2 ** 20, answers: 200, seconds: 60 };

/**
 * A `fetch` that adds the token to requests to the hub. No other address gets it: neither one that the hub names in an
 * answer, nor (as Fetch has it: headers of authorization do not cross origins) one that it redirects to.
 *
 * Answers that are no files are read whole, and none may be longer or take longer than they can; a file may take any time
 * as long as it goes on. What the library asks for is bounded by this alone.
 *
 * @param endpoint address of the hub
 */
export async function hubFetch(endpoint: string, token: string | undefined, bounds = BOUNDS): Promise<typeof fetch> {
  const { origin, pathname } = new URL(endpoint);
  const api = `${pathname.replace(/\/$/, '')}/api/`;
  const send = await proxiedFetch();
  let answers = 0;
  return async (input, init = {}) => {
    const url = new URL(input instanceof Request ? input.url : input);
    const headers = new Headers(init.headers);
    if (token !== undefined && url.origin === origin) headers.set('authorization', `Bearer ${token}`);
    const watch = watchdog(bounds.seconds);
    const signal = init.signal ? AbortSignal.any([init.signal, watch.signal]) : watch.signal;
    const response = await send(url, { ...init, headers, signal });
    if (response.ok && !url.pathname.startsWith(api)) return fed(response, watch);
    if (++answers > bounds.answers) throw new Error(`the hub does not come to an end after ${bounds.answers} answers`);
    const body = await readBounded(response, bounds.answerBytes).finally(watch.stop);
    // A status without a body allows none.
    return like(response, body.length > 0 ? body : null);
  };
}

interface Watchdog {
  readonly signal: AbortSignal;
  /** Something came: it begins to wait anew. */
  feed(): void;
  stop(): void;
}

function watchdog(seconds: number): Watchdog {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(new Error(`nothing came for ${seconds} seconds`)), seconds * 1000).unref();
  return { signal: controller.signal, feed: () => timer.refresh(), stop: () => clearTimeout(timer) };
}

/** The response, its pieces told to a watchdog. */
function fed(response: Response, watch: Watchdog): Response {
  if (!response.body) {
    watch.stop();
    return response;
  }
  const pieces = new TransformStream<Uint8Array, Uint8Array>({
    transform(piece, out) {
      watch.feed();
      out.enqueue(piece);
    },
    flush: watch.stop,
  });
  return like(response, response.body.pipeThrough(pieces));
}

/** A response with another body; its address stays, which a constructed one has none of. */
function like(response: Response, body: BodyInit | null): Response {
  const { status, statusText, headers, url } = response;
  return Object.defineProperty(new Response(body, { status, statusText, headers }), 'url', { value: url });
}

/** Node's own `fetch` knows no proxies before version 24, and there only if asked. */
async function proxiedFetch(): Promise<typeof fetch> {
  if (!Object.keys(process.env).some((name) => /^(https?|all)_proxy$/i.test(name))) return fetch;
  const undici = await import('undici');
  const direct = new undici.Agent();
  const agents = new Map<string, Dispatcher>();
  const agentFor = (origin: URL): Dispatcher => {
    const proxy = proxyFor(origin);
    if (proxy === undefined) return direct;
    // HTTP is asked of the proxy itself: many let nothing but HTTPS through their tunnels.
    if (!agents.has(proxy)) agents.set(proxy, new undici.ProxyAgent({ uri: proxy, proxyTunnel: false }));
    return agents.get(proxy)!;
  };
  const dispatcher = direct.compose(() => (options, handler) => agentFor(new URL(options.origin!)).dispatch(options, handler));
  const send = undici.fetch as unknown as (url: URL, init: object) => Promise<Response>;
  return (url, init) => send(url as URL, { ...init, dispatcher });
}
