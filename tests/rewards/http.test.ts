import { afterEach, describe, expect, test } from 'vitest';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { readImage } from '../../src/formats/image.js';
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
    const scored = httpReward('mine', { url, timeout: message.includes('0.2') ? 0.2 : 10 }).score(images, prompts);
    await expect(scored).rejects.toThrow(RewardError);
    await expect(scored).rejects.toThrow(`reward mine: the scorer at ${url} `);
    await expect(scored).rejects.toThrow(message);
  });

  test('nobody there; no address', async () => {
    const scored = httpReward('mine', { url: 'http://127.0.0.1:9/', timeout: 5 }).score(images, prompts);
    await expect(scored).rejects.toThrow('is it running?');
    expect(() => parseReward('http?url=file:///etc/passwd')).toThrow('option url is "file:///etc/passwd"');
    expect(() => parseReward('http')).toThrow('option url is missing');
  });
});
