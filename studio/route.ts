/** @file Where the page is: the part of the address after `#`. */
import { signal } from '@preact/signals';

export interface Route {
  readonly name: string;
  /** The rest of the path, decoded. */
  readonly id: string;
  readonly query: URLSearchParams;
}

function read(): Route {
  const [path = '', query = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const [name = '', ...rest] = path.split('/');
  let id = '';
  try {
    id = decodeURIComponent(rest.join('/'));
  } catch {
    // an address that somebody cut
  }
  return { name, id, query: new URLSearchParams(query) };
}

export const route = signal(read());
addEventListener('hashchange', () => {
  route.value = read();
  scrollTo(0, 0);
});

export const hrefOf = (name: string, id = '', query: readonly (readonly [string, string])[] = []): string =>
  `#/${name}${id === '' ? '' : `/${encodeURIComponent(id)}`}${query.length > 0 ? `?${new URLSearchParams(query.map(([k, v]) => [k, v]))}` : ''}`;

export const goTo = (href: string): void => void (location.hash = href);
