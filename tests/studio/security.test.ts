/** @file The studio's server before a hostile client: each rule is a test. */
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:net';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { openStudio } from '../../src/studio/server.js';
import type { Studio } from '../../src/studio/server.js';
import { scratch } from '../cli/helpers.js';
import { asPage, get, post, raw } from './ask.js';
import { append, writePicture, writeRun } from './written-run.js';

const root = scratch();
const runs = join(root, 'runs');
let studio: Studio;

beforeAll(async () => {
  await writeRun(join(runs, 'one'));
  writeFileSync(join(root, 'secret.png'), 'secret');
  studio = await openStudio({ runs, port: 0 });
});
afterAll(() => studio.close());

const ROUTES = ['/', '/main.js', '/api/about', '/api/choices', '/api/events?run=one', '/api/runs/one/settings', '/api/runs/one/output', '/api/runs/one/kept', '/api/prompt-sets', '/api/prompts?set=people', '/api/files?kind=prompts', '/api/runs/one/images/0/1/0', '/api/differences?run=one&run=one', '/api/judge/results', '/api/judge/x/left', '/api/nothing'];
const POSTS = ['/api/start', '/api/check', '/api/plan', '/api/resume', '/api/stop', '/api/dismiss', '/api/judge/next', '/api/judge/vote', '/api/judge/undo', '/api/judge/dpo', '/api/judge/reward-model', '/api/ask', '/api/sweep', '/api/promote', '/api/queue', '/api/prompts', '/api/prompts/import'];

test('it listens on this machine alone, and tells when it does not', async () => {
  const outside = Object.values(networkInterfaces()).flat().find((i) => i && !i.internal && i.family === 'IPv4');
  if (!outside) return;
  const refused = await new Promise<boolean>((resolve) => {
    connect(studio.port, outside.address).once('connect', () => resolve(false)).once('error', () => resolve(true));
  });
  expect(refused).toBe(true);
});

test('a name that is not on the list is refused with 421, though it leads here and its origin is equal to it', async () => {
  for (const host of ['evil.example', `evil.example:${studio.port}`, '127.0.0.1', `127.0.0.1:1`, `localhost.evil.example:${studio.port}`]) {
    for (const path of ['/', `/?token=${studio.token}`, '/api/events', '/api/runs/one/images/0/1/0']) {
      expect((await raw(studio, path, { headers: { ...asPage(studio), host, origin: `http://${host}` } })).status, `${host} ${path}`).toBe(421);
    }
    expect((await raw(studio, '/api/start', { method: 'POST', headers: { ...asPage(studio), host, origin: `http://${host}` }, body: '{}' })).status).toBe(421);
  }
  for (const host of [`localhost:${studio.port}`, `[::1]:${studio.port}`, `LOCALHOST:${studio.port}`]) {
    expect((await raw(studio, '/api/about', { headers: { ...asPage(studio), host } })).status).toBe(200);
  }
});

test('without the token nothing is answered, pictures and events included; with it there is a cookie and a clean address', async () => {
  for (const headers of [{}, { cookie: `attune_${studio.port}=x${studio.token.slice(1)}` }, { cookie: `attune_1=${studio.token}` }, { authorization: 'Bearer x' }]) {
    for (const path of ROUTES) expect((await raw(studio, path, { headers })).status, path).toBe(401);
    for (const path of POSTS) expect((await raw(studio, path, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: '{}' })).status).toBe(401);
  }
  expect((await raw(studio, '/?token=wrong')).status).toBe(401);
  const traded = await raw(studio, `/?a=b&token=${studio.token}`);
  expect(traded).toMatchObject({ status: 303, headers: { location: '/?a=b' } });
  expect(traded.headers['set-cookie']).toEqual([`attune_${studio.port}=${studio.token}; HttpOnly; SameSite=Strict; Path=/`]);
  expect(Buffer.from(studio.token, 'base64url')).toHaveLength(16);
  expect((await raw(studio, '/', { headers: { cookie: `other=1; attune_${studio.port}=${studio.token}` } })).status).toBe(200);
});

test('what changes something comes from the page itself, or with the token in a head, and is JSON of at most 1 MB', async () => {
  const ask = (headers: Readonly<Record<string, string | undefined>>, body = '{}'): Promise<number> => {
    const all = Object.fromEntries(Object.entries({ ...asPage(studio), ...headers }).filter(([, v]) => v !== undefined));
    return raw(studio, '/api/check', { method: 'POST', headers: all, body }).then(({ status }) => status);
  };
  expect(await ask({})).toBe(200);
  expect(await ask({ origin: undefined })).toBe(200);
  expect(await ask({ 'sec-fetch-site': undefined })).toBe(200);
  expect(await ask({ 'sec-fetch-site': undefined, origin: undefined, cookie: undefined, authorization: `Bearer ${studio.token}` })).toBe(200);
  for (const site of ['cross-site', 'same-site', 'none']) expect(await ask({ 'sec-fetch-site': site })).toBe(403);
  expect(await ask({ 'sec-fetch-site': undefined, origin: undefined })).toBe(403);
  for (const origin of ['null', 'http://evil.example', `http://127.0.0.1:1`, `https://127.0.0.1:${studio.port}`]) {
    expect(await ask({ origin })).toBe(403);
    expect(await ask({ origin, 'sec-fetch-site': undefined })).toBe(403);
  }
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data', undefined, 'application/jsonx']) expect(await ask({ 'content-type': type })).toBe(415);
  expect(await ask({}, '[1]')).toBe(400);
  expect(await ask({}, 'x')).toBe(400);
  expect(await ask({}, JSON.stringify({ settings: { negativePrompt: 'x'.repeat(2 ** 20) } }))).toBe(413);
  for (const method of ['PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE']) expect((await raw(studio, '/api/stop', { method, headers: asPage(studio) })).status).toBe(405);
  expect((await get(studio, '/api/stop')).status).toBe(404);
});

test('every answer forbids what a page could do with it, and allows no other origin anything', async () => {
  for (const path of ['/', '/main.js', '/api/about', '/api/runs/one/images/0/1/0', '/nowhere']) {
    const { headers } = await get(studio, path);
    expect(headers['content-security-policy']).toMatch(/^default-src 'self'; /);
    expect(headers['content-security-policy']).not.toMatch(/unsafe|\*|http/);
    expect(headers).toMatchObject({ 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer', 'cross-origin-resource-policy': 'same-origin' });
    expect(Object.keys(headers).filter((name) => name.startsWith('access-control'))).toEqual([]);
  }
  expect((await get(studio, '/')).text).not.toMatch(/<script(?![^>]*src=)[^>]*>|\son\w+=|style=/);
});

test('pictures are those that a log names, in the run\'s own folder in truth, and PNG files', async () => {
  const picture = (rest: string): Promise<number> => get(studio, `/api/runs/${rest}`).then(({ status }) => status);
  const good = await get(studio, '/api/runs/one/images/0/1/0?size=256&v=1');
  expect(good).toMatchObject({ status: 200, headers: { 'content-type': 'image/png' } });
  expect(await picture('one/images/9/1/0')).toBe(404);
  expect(await picture('..%2f..%2fone/images/0/1/0')).toBe(404);
  expect(await picture('one/images/..%2f0/1/0')).toBe(400);
  expect(await picture('one/images/0/1/%00')).toBe(400);
  expect(await picture('one/images/%ff/1/0')).toBe(400);
  expect(await picture('one/images/0/1/0?size=77')).toBe(400);
  for (const path of ['/../../etc/passwd', '/%2e%2e/%2e%2e/etc/passwd', '//etc/passwd', '/api/runs/one/../../secret.png', '/samples/step-000000/000.png', '/runs/one/config.yaml']) {
    expect((await get(studio, path)).status, path).toBe(404);
  }

  const bad = join(runs, 'bad');
  await writeRun(bad);
  const named = (n: number, file: string): object => ({ type: 'image', step: n, strength: 1, index: 0, prompt: '', file });
  mkdirSync(join(bad, 'samples'), { recursive: true });
  symlinkSync(join(root, 'secret.png'), join(bad, 'samples', 'link.png'));
  writeFileSync(join(bad, 'samples', 'none.png'), 'x');
  writeFileSync(join(bad, 'samples', 'page.png'), '<html><script>alert(1)</script>');
  append(bad, named(5, 'samples/link.png') as never, named(6, 'samples/page.png') as never, named(7, 'samples/../../../secret.png') as never, named(8, 'samples/none.png') as never);
  await writePicture(bad, 0, 0, 600);
  // New runs are looked for once a second.
  await vi.waitFor(async () => expect(await picture('bad/images/0/1/0')).toBe(200), { timeout: 20_000, interval: 200 });
  expect(await get(studio, '/api/runs/bad/images/0/1/0?size=128')).toMatchObject({ status: 200, headers: { 'content-type': 'image/webp' } });
  for (const n of [5, 6, 7, 8]) expect(await picture(`bad/images/${n}/1/0`), String(n)).toBe(404);
});

test('a run is started by settings of the schema alone, as arguments that no shell sees', async () => {
  const check = async (settings: object): Promise<string> => (await post(studio, '/api/check', { settings })).text;
  expect(JSON.parse(await check({ 'method.name': 'draft', 'method.k': 'all', steps: 3, prompts: '$(touch /tmp/x); a\'b', 'lora.rank': 4 }))).toMatchObject({
    command: 'attune train --method draft --set method.k=all --steps 3 --prompts \'$(touch /tmp/x); a\'\\\'\'b\' --set lora.rank=4',
  });
  // What begins with a dash is a value still.
  expect(await check({ model: 'emoji', prompts: '--force' })).toContain('--prompts=--force');
  expect(await check({ 'method.script': 'x' })).toMatch(/script/);
  expect(await check({ out: '/etc' })).toMatch(/there is no setting "out"/);
  expect(await check({ '__proto__.x': 1 })).toMatch(/settings/);
  expect(await check({ 'a b': 1 })).toMatch(/settings/);
  for (const name of ['../x', 'a/b', '.', '..', '', 'a\0', '-x', 'a'.repeat(200)]) {
    expect((await post(studio, '/api/start', { settings: {}, name })).status, name).toBe(400);
  }
  expect((await post(studio, '/api/start', { settings: {}, argv: ['x'] })).status).toBe(400);
  expect((await post(studio, '/api/start', { settings: {}, name: 'one' })).status).toBe(409);
  for (const name of ['votes', 'prompts']) expect((await post(studio, '/api/start', { settings: {}, name })).status).toBe(409);
  for (const path of ['/api/resume', '/api/stop']) expect((await post(studio, path, { run: '../one' })).status).toBe(404);
});

test('work on a run is a known one, on a run of the list, with numbers in bounds', async () => {
  const sweep = { run: 'one', step: 2, strengths: [0.5] };
  for (const body of [{ ...sweep, step: -1 }, { ...sweep, step: '2' }, { ...sweep, strengths: [] }, { ...sweep, strengths: ['$(x)'] }, { ...sweep, strengths: [1e9] }, { ...sweep, prompts: 1e6 }, { ...sweep, out: '/etc' }]) {
    expect((await post(studio, '/api/sweep', body)).status, JSON.stringify(body)).toBe(400);
  }
  for (const body of [{ run: 'one', step: 2, dialect: '../x' }, { run: 'one', step: 2, dialect: 'kohya', out: '/etc/x' }, { run: 'one', step: 2, strength: 'a', dialect: 'kohya' }]) {
    expect((await post(studio, '/api/promote', body)).status, JSON.stringify(body)).toBe(400);
  }
  expect((await post(studio, '/api/ask', { run: 'one', wish: 'delete' })).status).toBe(400);
  for (const path of ['/api/sweep', '/api/promote', '/api/ask']) {
    expect((await post(studio, path, { ...(path === '/api/ask' ? { wish: 'save' } : path === '/api/sweep' ? sweep : { step: 2, dialect: 'kohya' }), run: '../one' })).status, path).toBe(404);
  }
  expect((await post(studio, '/api/ask', { run: 'one', wish: 'save' })).text).toMatch(/not running/);
  expect((await get(studio, '/api/runs/..%2fone/kept')).status).toBe(404);
});

test('what files hold reaches the page as JSON or plain text', async () => {
  for (const path of ['/api/runs/one/settings', '/api/runs/one/output', '/api/about', '/api/differences?run=one&run=one']) {
    expect((await get(studio, path)).headers['content-type'], path).toMatch(/^(?:application\/json|text\/plain); charset=utf-8$/);
  }
  expect((await get(studio, '/api/<script>')).headers['content-type']).toBe('text/plain; charset=utf-8');
});
