/** @file `fetch` for the hub: through the user's proxy, and with the user's token for the hub's own address alone. */
import type { Dispatcher } from 'undici';
import { proxyFor } from './hub-environment.js';

/**
 * A `fetch` that adds the token to requests to the hub. No other address gets it: neither one that the hub names in an
 * answer, nor (as Fetch has it: headers of authorization do not cross origins) one that it redirects to.
 *
 * @param endpoint address of the hub
 */
export async function hubFetch(endpoint: string, token: string | undefined): Promise<typeof fetch> {
  const { origin } = new URL(endpoint);
  const send = await proxiedFetch();
  return (input, init = {}) => {
    const url = new URL(input instanceof Request ? input.url : input);
    const headers = new Headers(init.headers);
    if (token !== undefined && url.origin === origin) headers.set('authorization', `Bearer ${token}`);
    return send(url, { ...init, headers });
  };
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
