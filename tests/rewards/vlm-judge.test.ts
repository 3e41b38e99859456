import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { readImage } from '../../src/formats/image.js';
import { openRewards, parseReward } from '../../src/rewards/registry.js';
import { openScorer } from '../../src/rewards/scorer.js';
import { parseMarks, VLM_ASPECTS } from '../../src/rewards/vlm-judge.js';
import { pictures } from './helpers.js';

const KEY = 'sk-very-secret';
const asked: { authorization: string | undefined; text: string; image: string }[] = [];
let answers: ((response: ServerResponse) => void)[] = [];
let server: Server;
let url: string;

beforeEach(async () => {
  vi.stubEnv('JUDGE_KEY', KEY);
  asked.length = 0;
  server = createServer(async (request: IncomingMessage, response) => {
    let body = '';
    for await (const part of request) body += part;
    const [{ content }] = (JSON.parse(body) as { messages: [{ content: [{ text: string }, { image_url: { url: string } }] }] }).messages;
    asked.push({ authorization: request.headers.authorization, text: content[0].text, image: content[1].image_url.url });
    (answers.shift() ?? says(marks(5)))(response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/chat/completions`;
});
afterEach(async () => {
  vi.unstubAllEnvs();
  answers = [];
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const marks = (overall: unknown, others: unknown = 4): string => JSON.stringify(Object.fromEntries(VLM_ASPECTS.map((a) => [a, a === 'overall' ? overall : others])));
const says = (content: string) => (response: ServerResponse): void => void response.end(JSON.stringify({ choices: [{ message: { content } }] }));
const status = (code: number, text: string) => (response: ServerResponse): void => void response.writeHead(code).end(text);

async function score(options = '', count = 2, told: string[] = []): Promise<number[]> {
  const spec = parseReward(`vlm-judge?url=${url}&model=m&keyFrom=JUDGE_KEY${options}`);
  expect(JSON.stringify(spec)).not.toContain(KEY);
  const reward = await openRewards([spec], { downloads: { warn: (text) => told.push(text) } });
  return [...await openScorer(reward).score(pictures(count, 8), ['a cat', 'two dogs', 'x', 'y'].slice(0, count))];
}

test('each picture is judged for its own prompt, by the mark that is asked for', async () => {
  answers = [says(marks(7)), says(`\`\`\`json\n${marks(2.5)}\n\`\`\``)];
  expect(await score()).toEqual([Math.fround(0.7), 0.25]);
  expect(asked.map((a) => [a.authorization, /Prompt: (".*?")/.exec(a.text)![1]])).toEqual([[`Bearer ${KEY}`, '"a cat"'], [`Bearer ${KEY}`, '"two dogs"']]);
  const image = await readImage(Buffer.from(asked[0]!.image.split(',')[1]!, 'base64'));
  expect(image.shape).toEqual([3, 8, 8]);
  answers = [says(marks(9, 3)), says(marks(9, 6))];
  expect(await score('&aspect=mean')).toEqual([Math.fround(0.3), Math.fround(0.6)]);
});

test.each([
  'The overall score is 7.', `Sure! ${marks(7)}`, `${marks(7)} {"overall": 9}`, marks(11), marks('7'), marks(null), '{"overall": 7}', marks(7).replace('}', ',"extra":1}'),
  marks(7).replace('7', 'NaN'), '', '[7,7,7,7,7,7]',
])('%s is no mark', (text) => expect(parseMarks(text)).toBeNull());

test('what cannot be read is asked again, then left out and counted', async () => {
  answers = [says('seven'), status(503, 'busy'), says(marks(6))];
  expect(await score('&retries=2', 1)).toEqual([Math.fround(0.6)]);
  const told: string[] = [];
  answers = [says(marks(2)), says('no'), says('no'), says(marks(4)), says(marks(6))];
  expect(await score('&retries=1', 4, told)).toEqual([0.2, 0.4, 0.4, 0.6].map(Math.fround));
  expect(told).toEqual([expect.stringContaining('1 of 4 images have no marks that can be read; they count as the mean of the others (1 of 4 so far)')]);
  answers = [says('no'), says('no'), says(marks(3))];
  await expect(score('&retries=0', 3)).rejects.toThrow(/reward vlm-judge: the judge at http:.* gave no marks that can be read for 2 of 3 images/);
});

test('a judge that hangs, refuses or is not there is told, without the key', async () => {
  answers = [() => {}, () => {}];
  await expect(score('&timeout=0.1&retries=1', 1)).rejects.toThrow('each asked 2 times within 0.1 seconds');
  answers = [status(401, `bad key ${KEY}`)];
  const error = await score('', 1).catch((e: unknown) => String(e));
  expect(error).toMatch(/refuses with status 401: bad key …/);
  vi.stubEnv('JUDGE_KEY', '');
  await expect(score()).rejects.toThrow('the environment variable JUDGE_KEY, which is to hold the key, is not set');
  vi.stubEnv('JUDGE_KEY', KEY);
  url = 'http://127.0.0.1:9/v1';
  await expect(score()).rejects.toThrow(/the judge at http:\/\/127\.0\.0\.1:9\/v1 cannot be reached/);
});
