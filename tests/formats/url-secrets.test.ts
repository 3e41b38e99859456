import { expect, test } from 'vitest';
import { holdsSecrets, openAddress, SECRETS_REMEDY, withoutSecrets } from '../../src/formats/url-secrets.js';

test.each([
  ['http://me:hunter2@h/s', 'http://…@h/s'],
  ['see http://hunter2@h and https://a:b@c.d:8/x?y=1', 'see http://…@h and https://…@c.d:8/x?y=1'],
  ['http://me:hun@ter/2@h/s', 'http://…@h/s'],
  ['http://h/s?x=1&api_key=hunter2&y=2', 'http://h/s?x=1&api_key=…&y=2'],
  ['"http://h/s?token=hunter2"', '"http://h/s?token=…"'],
])('%s is shown as %s', (text, shown) => {
  expect(withoutSecrets(text)).toBe(shown);
  expect(holdsSecrets(text)).toBe(true);
});

test.each([
  'http://h:80/@me/x@y', 'http://h/s?max_tokens=5&keyboard=1', 'http://me:{PASSWORD}@h/?key={KEY}', 'http://{TOKEN}@h/', 'a photo @ 50mm', SECRETS_REMEDY,
  'me@example.org', 'a cat?key=3', 'http://h/s?key=',
])('%s holds none', (text) => {
  expect(holdsSecrets(text)).toBe(false);
  if (text.includes('://')) expect(withoutSecrets(text)).toBe(text);
});

test('an address is filled in from the environment, and repeats nothing', () => {
  const { url, headers, hide } = openAddress('https://me:{A_B}@h/s?key={C}', { A_B: 'p@ss/word', C: 'k&y' });
  expect(url.href).toBe('https://h/s?key=k%26y');
  expect(headers).toEqual({ authorization: `Basic ${Buffer.from('me:p@ss/word').toString('base64')}` });
  expect(hide(`p@ss/word p%40ss%2Fword k&y ${url.href} ${headers['authorization']}`)).toBe('… … … https://h/s?key=… Basic …');
  expect(openAddress('http://h/s', {}).headers).toEqual({});
  expect(() => openAddress('http://{GONE}@h/', {})).toThrow('the environment variable GONE, which it names, is not set');
});
