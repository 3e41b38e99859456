/**
 * @file What the environment says about the hub, by the variables of Python's huggingface_hub: address, cache, token.
 */
import { homedir } from 'node:os';
import { join } from 'node:path';
import { FormatError } from '../formats/errors.js';
import { MOST_BYTES, readText } from '../formats/whole-file.js';
import type { Environment } from '../host/environment.js';

const truthy = (value: string | undefined): boolean => /^(1|on|yes|true)$/i.test(value ?? '');

/** `~/x` as the shell would read it; within quotes and in files nobody did. */
const expanded = (path: string): string => path.replace(/^~(?=$|[\\/])/, homedir());

const home = (env: Environment): string =>
  expanded(env['HF_HOME'] || join(env['XDG_CACHE_HOME'] || '~/.cache', 'huggingface'));

/** Folder of the cache, with a folder `models--org--name` for each model. */
export const hubCache = (env: Environment = process.env): string =>
  expanded(env['HF_HUB_CACHE'] || env['HUGGINGFACE_HUB_CACHE'] || join(home(env), 'hub'));

/** Address without a slash at its end. @throws FormatError for one that is none */
export function hubEndpoint(env: Environment = process.env): string {
  const given = env['HF_ENDPOINT'] || 'https://huggingface.co';
  if (/^https?:/i.test(given) && URL.canParse(given)) return given.replace(/\/+$/, '');
  throw new FormatError('HF_ENDPOINT', 'is not the address of a hub', 'Unset it, or set it to https://…');
}

export const isOffline = (env: Environment = process.env): boolean => truthy(env['HF_HUB_OFFLINE']);

/**
 * The user's token: HF_TOKEN, else the file that `hf auth login` writes (HF_TOKEN_PATH, or `token` in HF_HOME).
 *
 * @throws FormatError for one that cannot be sent; it is not shown
 */
export async function hubToken(env: Environment = process.env): Promise<string | undefined> {
  if (truthy(env['HF_HUB_DISABLE_IMPLICIT_TOKEN'])) return undefined;
  const file = expanded(env['HF_TOKEN_PATH'] || join(home(env), 'token'));
  const given = (env['HF_TOKEN'] || env['HUGGING_FACE_HUB_TOKEN'] || '').trim();
  const token = given || (await readText(file, MOST_BYTES.note).catch(() => '')).trim();
  if (/[^\x21-\x7e]/.test(token)) {
    throw new FormatError(given ? 'HF_TOKEN' : file, 'is no token of the hub', 'Log in anew with "hf auth login".');
  }
  return token || undefined;
}

/**
 * The proxy for an address, by `<scheme>_proxy`, `all_proxy` and `no_proxy` in lower or upper case.
 *
 * @throws FormatError for one that is not HTTP
 */
export function proxyFor(url: URL, env: Environment = process.env): string | undefined {
  const value = (name: string): string | undefined => env[name] || env[name.toUpperCase()] || undefined;
  const name = `${url.protocol.slice(0, -1)}_proxy`;
  const given = value(name) ?? value('all_proxy');
  if (given === undefined || (value('no_proxy') ?? '').split(/[\s,]+/).some((entry) => isExcepted(url, entry))) return undefined;
  const proxy = given.includes('://') ? given : `http://${given}`;
  if (/^https?:/i.test(proxy) && URL.canParse(proxy)) return proxy;
  // Its text may hold a password.
  throw new FormatError(name.toUpperCase(), 'is not the address of an HTTP proxy', 'Set it to http://host:port.');
}

/** An entry of `no_proxy`: `*`, or a host with all below it, perhaps with a port. */
function isExcepted(url: URL, entry: string): boolean {
  const [, name = '', port] = /^\*?\.?(.*?)(?::(\d+))?$/.exec(entry.toLowerCase())!;
  if (entry === '*') return true;
  if (name === '' || (port !== undefined && port !== (url.port || (url.protocol === 'https:' ? '443' : '80')))) return false;
  return url.hostname === name || url.hostname.endsWith(`.${name}`);
}
