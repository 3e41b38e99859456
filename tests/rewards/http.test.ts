import { afterEach, describe, expect, test, vi } from 'vitest';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { readImage } from '../../src/formats/image.js';
import { encodePng } from '../../src/formats/image.js';
import { httpReward } from '../../src/rewards/http.js';
import { openRewards, parseReward } from '../../src/rewards/registry.js';
import { RewardError } from '../../src/rewards/reward.js';
import { openScorer } from '../../src/rewards/scorer.js';
import { pictures } from './helpers.js';

interface Question {
  images: string[];
  prompts: string[];
}

let server: Server | undefined;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

/** Serves on a free port of this machine and returns the address. */
async function serve(answer: (question: Question, response: ServerResponse, request: IncomingMessage) => void | Promise<void>): Promise<string> {
  server = createServer(async (request, response) => {
    let text = '';
    for await (const part of request) text += part;
    await answer(JSON.parse(text) as Question, response, request);
  });
  await new Promise<void>((resolve) => {
    server!.listen(0, '127.0.0.1', resolve);
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/score`;
}

const images = pictures(3, 8);
const prompts = ['a cat', 'ein Bär', ''];

test('each image comes with its own prompt, and its score goes back to it', async () => {
  const seen: Question[] = [];
  const url = await serve(async (question, response, request) => {
    expect(request.method).toBe('POST');
    seen.push(question);
    const reds = await Promise.all(question.images.map(async (png) => {
      const { data } = await readImage(Buffer.from(png, 'base64'));
      return (data.subarray(0, 64) as Float32Array).reduce((a, b) => a + b, 0) / 64;
    }));
    response.end(JSON.stringify({ scores: reds, anything: 'else' }));
  });
  const reward = await openRewards([parseReward(`http:2?url=${url}`)]);
  expect(reward.differentiable).toBe(false);
  const scores = await openScorer(reward).score(images, prompts);
  expect(seen).toHaveLength(1);
  expect(seen[0]!.prompts).toEqual(prompts);
  scores.forEach((s, i) => {
    const red = (images.data.subarray(i * 192, i * 192 + 64)).reduce((a, b) => a + b, 0) / 64;
    expect(s / 2).toBeCloseTo(red, 2);
  });
});

describe('redirections', () => {
  test.each([301, 302, 307, 308])('another path of the same server is asked again with the pictures: %i', async (status) => {
    const url = await serve((question, response, request) => {
      if (request.url === '/score') response.writeHead(status, { location: '/score/' }).end();
      else response.end(JSON.stringify({ scores: question.images.map((_, i) => i) }));
    });
    expect(Array.from(await httpReward('mine', { url, timeout: 10 }, encodePng).score(images, prompts))).toEqual([0, 1, 2]);
  });

  test.each(['http', 'https'])('another server gets nothing: %s', async (scheme) => {
    const asked: string[] = [];
    const other = createServer((request, response) => {
      asked.push(request.url!);
      response.end('{"scores":[9,9,9]}');
    });
    await new Promise<void>((resolve) => {
      other.listen(0, '127.0.0.1', resolve);
    });
    const there = `${scheme}://127.0.0.1:${(other.address() as AddressInfo).port}`;
    const url = await serve((_question, response) => {
      response.writeHead(307, { location: there.replace('//', '//me:hunter2@') }).end();
    });
    const scored = httpReward('mine', { url, timeout: 10 }, encodePng).score(images, prompts);
    await expect(scored).rejects.toThrow(`redirects to ${there}, another server, which gets neither pictures nor credentials`);
    await expect(scored).rejects.not.toThrow('hunter2');
    expect(asked).toEqual([]);
    other.close();
  });

  test('in a circle', async () => {
    const url = await serve((_question, response) => {
      response.writeHead(302, { location: '/score' }).end();
    });
    await expect(httpReward('mine', { url, timeout: 10 }, encodePng).score(images, prompts)).rejects.toThrow('redirects more than 5 times');
  });
});

describe('passwords and keys', () => {
  afterEach(() => vi.unstubAllEnvs());

  test('come from the environment, reach the scorer and no message', async () => {
    vi.stubEnv('SCORER_PASSWORD', 'hunter2 & more');
    vi.stubEnv('SCORER_KEY', 'sesame');
    const seen: (string | undefined)[] = [];
    const url = await serve((question, response, request) => {
      seen.push(request.url, request.headers.authorization);
      if (seen.length === 2) response.end(JSON.stringify({ scores: question.images.map(() => 1) }));
      else response.writeHead(403).end(`bad key ${request.url} ${request.headers.authorization} hunter2 & more`);
    });
    const given = `${url.replace('//', '//me:{SCORER_PASSWORD}@')}?key={SCORER_KEY}`;
    const reward = httpReward('mine', { url: given, timeout: 10 }, encodePng);
    await reward.score(images, prompts);
    expect(seen).toEqual(['/score?key=sesame', `Basic ${Buffer.from('me:hunter2 & more').toString('base64')}`]);
    const refusal = await reward.score(images, prompts).then(String, String);
    expect(refusal).toContain(`the scorer at ${given} refuses with status 403: bad key /score?key=…`);
    for (const secret of ['hunter2', 'sesame', seen[1]!.slice(6)]) expect(refusal + reward.description).not.toContain(secret);
  });

  test('a variable that is not set is named', () => {
    expect(() => httpReward('mine', { url: 'http://me:{NOT_SET_ANYWHERE}@h/', timeout: 1 }, encodePng))
      .toThrow('the environment variable NOT_SET_ANYWHERE, which it names, is not set');
  });
});

describe('what goes wrong is said with the address', () => {
  test.each<[string, (r: ServerResponse) => void, string]>([
    ['no JSON', (r) => r.end('<html>'), 'answers no JSON but "<html>"'],
    ['no scores', (r) => r.end('{"score": 1}'), 'not { "scores": [a number for each image] }'],
    ['too few', (r) => r.end('{"scores": [1, 2]}'), 'answers 2 scores for 3 images'],
    ['no numbers', (r) => r.end('{"scores": [1, 2, null]}'), 'not { "scores"'],
    ['an error', (r) => r.writeHead(500).end('out of memory'), 'refuses with status 500: out of memory'],
    ['a flood', (r) => r.end('x'.repeat(2 ** 21)), 'answers more than 1048576 bytes'],
    ['silence', () => {}, 'did not answer within 0.2 seconds'],
  ])('%s', async (_, answer, message) => {
    const url = await serve((_question, response) => answer(response));
    const scored = httpReward('mine', { url, timeout: message.includes('0.2') ? 0.2 : 10 }, encodePng).score(images, prompts);
    await expect(scored).rejects.toThrow(RewardError);
    await expect(scored).rejects.toThrow(`reward mine: the scorer at ${url} `);
    await expect(scored).rejects.toThrow(message);
  });

  test('nobody there; no address', async () => {
    const scored = httpReward('mine', { url: 'http://127.0.0.1:9/', timeout: 5 }, encodePng).score(images, prompts);
    await expect(scored).rejects.toThrow('is it running?');
    expect(() => parseReward('http?url=file:///etc/passwd')).toThrow('option url is "file:///etc/passwd"');
    expect(() => parseReward('http')).toThrow('option url is missing');
  });
});
