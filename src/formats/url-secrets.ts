/**
 * @file Passwords and keys in addresses. They are never saved and never shown: an address names environment variables in
 * braces (`http://me:{PASSWORD}@host/score?key={KEY}`), which are read when it is called.
 */
import { base64 } from '../host/base64.js';
import { environment } from '../host/environment.js';
import type { Environment } from '../host/environment.js';

const PLACEHOLDER = /\{([A-Za-z_]\w*)\}/g;
/** What stands before the last @ of an address; a password may hold any character that is not white space. */
const USER = /(:\/\/)([^\s"']*)@/g;
const KEY = /([?&](?:api[-_]?key|key|access[-_]?token|auth[-_]?token|token|auth|secret|password|passwd|pwd|sig|signature)=)([^&\s"'#]*)/gi;

/** A sentence may go on behind an address. */
const onlyNames = (text: string): boolean => /^(?:[^:@]*:)?\{[A-Za-z_]\w*\}[.,;)]*$/.test(text);

/** A text as it may be shown or saved: … in place of the passwords and keys of addresses in it. */
export function withoutSecrets(text: string): string {
  return text
    .replace(USER, (all, lead: string, user: string) => (onlyNames(user) || !isUser(user) ? all : `${lead}…@`))
    .replace(KEY, (all, lead: string, value: string) => (value === '' || onlyNames(value) ? all : `${lead}…`));
}

/** An @ behind the host is part of the path, unless what stands before is no host: `user:p/w`. */
const isUser = (before: string): boolean => !before.includes('/') || /^[^/]*:(?!\d*\/)/.test(before);

/** Whether an address in this text says a password or key itself. */
export const holdsSecrets = (text: string): boolean => text.includes('://') && withoutSecrets(text) !== text;

/** What to do about it, as a sentence. */
export const SECRETS_REMEDY = 'It would be saved with what is made. Put it into an environment variable and write the '
  + 'variable\'s name in braces in its place: http://me:{PASSWORD}@host/score?key={KEY}.';

/** An address that can be called. */
export interface Address {
  /** Without user and password. */
  readonly url: URL;
  /** The user and password as HTTP knows them. */
  readonly headers: Readonly<Record<string, string>>;
  /** A text from elsewhere without the secrets that were put in, should it repeat them. */
  hide(text: string): string;
}

/**
 * Puts the environment variables that an address names in their places.
 *
 * @throws Error naming a variable that is not set
 */
export function openAddress(text: string, variables: Environment = environment): Address {
  const secrets: string[] = [];
  const filled = text.replace(PLACEHOLDER, (_, name: string) => {
    const value = variables[name];
    if (value === undefined || value === '') throw new Error(`the environment variable ${name}, which it names, is not set`);
    secrets.push(value, encodeURIComponent(value));
    return encodeURIComponent(value);
  });
  const url = new URL(filled);
  const [user, password] = [decodeURIComponent(url.username), decodeURIComponent(url.password)];
  [url.username, url.password] = ['', ''];
  const token = base64(new TextEncoder().encode(`${user}:${password}`));
  if (user !== '' || password !== '') secrets.push(token);
  // The longest first: one may hold another.
  const hidden = secrets.toSorted((a, b) => b.length - a.length);
  return {
    url,
    headers: user === '' && password === '' ? {} : { authorization: `Basic ${token}` },
    hide: (message) => hidden.reduce((shown, secret) => shown.replaceAll(secret, '…'), message),
  };
}

/** The value of an environment variable that holds a secret. @throws Error if it is not set */
export function environmentSecret(name: string, variables: Environment = environment): string {
  const value = variables[name];
  if (value === undefined || value === '') throw new Error(`the environment variable ${name}, which is to hold the key, is not set`);
  return value;
}
