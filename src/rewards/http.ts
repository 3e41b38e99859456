/** @file Any scorer that answers HTTP: a black box in whatever language, on this machine or another. */
import { z } from 'zod';
import { readBounded, TooLongError } from '../formats/bounded-answer.js';
import { shown } from '../formats/errors.js';
import { openAddress, withoutSecrets } from '../formats/url-secrets.js';
import type { Address } from '../formats/url-secrets.js';
import { host } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { base64 } from '../host/base64.js';
import { RewardError, RewardSpecError } from './reward.js';
import type { BlackBoxReward } from './reward.js';
import { takeRows } from './rows.js';

/** An answer holds a number an image; more than this is none. */
const ANSWER_BYTES = 1 << 20;
/** Redirections within the address' own origin that are followed. */
const REDIRECTS = 5;

const answerSchema = z.object({ scores: z.array(z.number()) });

export interface HttpRewardOptions {
  /** Passwords and keys as names of environment variables in braces (`formats/url-secrets.ts`). */
  readonly url: string;
  /** Seconds that an answer may take. */
  readonly timeout: number;
}

type Fail = (problem: string, cause?: unknown) => never;

/**
 * Posts `{ "images": [base64 PNG, …], "prompts": [text, …] }` as JSON and takes `{ "scores": [number, …] }`, one for each
 * image in order. The pictures go to the address' own origin only.
 *
 * @param encodePng images [3, H, W] in [0, 1] as files
 * @throws RewardSpecError if the address names an environment variable that is not set
 * @throws RewardError naming the address if it does not answer in time, or not so
 */
export function httpReward(
  name: string, { url, timeout }: HttpRewardOptions, encodePng: (image: HostTensor) => Promise<Uint8Array>,
): BlackBoxReward {
  const shownUrl = withoutSecrets(url);
  const address = (() => {
    try {
      return openAddress(url);
    } catch (cause) {
      throw new RewardSpecError(`Reward ${name}, option url ${shownUrl}: ${(cause as Error).message}.`);
    }
  })();
  const fail: Fail = (problem, cause) => {
    throw new RewardError(`reward ${name}: the scorer at ${shownUrl} ${address.hide(problem)}`, { cause });
  };
  return {
    name,
    description: `score of the service at ${shownUrl}`,
    range: [0, 1],
    differentiable: false,
    async score(images, prompts, stop) {
      const encoded = await Promise.all(prompts.map(async (_, i) => base64(await encodePng(imageOf(images, i)))));
      const text = await post(address, JSON.stringify({ images: encoded, prompts }), { timeout, stop }, fail);
      let answer: unknown;
      try {
        answer = JSON.parse(text);
      } catch (cause) {
        return fail(`answers no JSON but ${JSON.stringify(text.slice(0, 80))}`, cause);
      }
      const parsed = answerSchema.safeParse(answer);
      if (!parsed.success) return fail(`answers ${shown(text.slice(0, 80))}, not { "scores": [a number for each image] }`);
      const { scores } = parsed.data;
      if (scores.length !== prompts.length) return fail(`answers ${scores.length} scores for ${prompts.length} images`);
      return Float32Array.from(scores);
    },
  };
}

const imageOf = (images: HostTensor, i: number): HostTensor => host(takeRows(images, i, 1).data, images.shape.slice(1));

async function post(
  { url, headers }: Address, body: string, { timeout, stop }: { timeout: number; stop: AbortSignal | undefined }, fail: Fail,
): Promise<string> {
  const late = AbortSignal.timeout(timeout * 1000);
  const signal = stop ? AbortSignal.any([stop, late]) : late;
  try {
    const response = await ask(url, { method: 'POST', headers: { ...headers, 'content-type': 'application/json' }, body, signal }, fail);
    const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(await readBounded(response, ANSWER_BYTES));
    return response.ok ? text : fail(`refuses with status ${response.status}: ${shown(text.slice(0, 200))}`);
  } catch (error) {
    if (error instanceof RewardError) throw error;
    if (error instanceof TooLongError) return fail(`answers more than ${ANSWER_BYTES} bytes`);
    stop?.throwIfAborted();
    if (late.aborted) return fail(`did not answer within ${timeout} seconds; give it more with the option timeout`);
    const { cause } = error as { cause?: { code?: string; message?: string } };
    return fail(`cannot be reached (${cause?.code ?? cause?.message ?? String(error)}); is it running?`, error);
  }
}

/** Posts again where the answer is another path of the same origin; another origin gets nothing and is not asked. */
async function ask(first: URL, request: RequestInit, fail: Fail): Promise<Response> {
  let url = first;
  for (let hops = 0; hops <= REDIRECTS; hops++) {
    const response = await fetch(url, { ...request, redirect: 'manual' });
    const location = response.headers.get('location');
    if (response.status < 300 || response.status >= 400 || location === null) return response;
    await response.body?.cancel();
    const next = URL.canParse(location, url) ? new URL(location, url) : fail('redirects to what is no address');
    if (next.origin !== first.origin) {
      fail(`redirects to ${next.origin}, another server, which gets neither pictures nor credentials; give its address if you trust it`);
    }
    url = next;
  }
  return fail(`redirects more than ${REDIRECTS} times`);
}
