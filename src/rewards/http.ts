/** @file Any scorer that answers HTTP: a black box in whatever language, on this machine or another. */
import { z } from 'zod';
import { encodePng } from '../formats/image.js';
import { host } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { RewardError } from './reward.js';
import type { BlackBoxReward } from './reward.js';
import { takeRows } from './rows.js';

/** An answer holds a number an image; more than this is none. */
const ANSWER_BYTES = 1 << 20;

const answerSchema = z.object({ scores: z.array(z.number()) });

export interface HttpRewardOptions {
  readonly url: string;
  /** Seconds that an answer may take. */
  readonly timeout: number;
}

/**
 * Posts `{ "images": [base64 PNG, …], "prompts": [text, …] }` as JSON and takes `{ "scores": [number, …] }`, one for each
 * image in order.
 *
 * @throws RewardError naming the address if it does not answer in time, or not so
 */
export function httpReward(name: string, { url, timeout }: HttpRewardOptions): BlackBoxReward {
  const fail = (problem: string, cause?: unknown): never => {
    throw new RewardError(`reward ${name}: the scorer at ${url} ${problem}`, { cause });
  };
  return {
    name,
    description: `score of the service at ${url}`,
    range: [0, 1],
    differentiable: false,
    async score(images, prompts, stop) {
      const encoded = await Promise.all(prompts.map(async (_, i) => (await encodePng(imageOf(images, i))).toString('base64')));
      const text = await post(url, JSON.stringify({ images: encoded, prompts }), { timeout, stop }, fail);
      let answer: unknown;
      try {
        answer = JSON.parse(text);
      } catch (cause) {
        return fail(`answers no JSON but ${JSON.stringify(text.slice(0, 80))}`, cause);
      }
      const parsed = answerSchema.safeParse(answer);
      if (!parsed.success) return fail(`answers ${text.slice(0, 80)}, not { "scores": [a number for each image] }`);
      const { scores } = parsed.data;
      if (scores.length !== prompts.length) return fail(`answers ${scores.length} scores for ${prompts.length} images`);
      return Float32Array.from(scores);
    },
  };
}

const imageOf = (images: HostTensor, i: number): HostTensor => host(takeRows(images, i, 1).data, images.shape.slice(1));

async function post(
  url: string, body: string, { timeout, stop }: { timeout: number; stop: AbortSignal | undefined },
  fail: (problem: string, cause?: unknown) => never,
): Promise<string> {
  const late = AbortSignal.timeout(timeout * 1000);
  const signal = stop ? AbortSignal.any([stop, late]) : late;
  try {
    const response = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body, signal });
    const parts: Uint8Array[] = [];
    let length = 0;
    for await (const part of response.body ?? []) {
      parts.push(part as Uint8Array);
      length += (part as Uint8Array).length;
      if (length > ANSWER_BYTES) return fail(`answers more than ${ANSWER_BYTES} bytes`);
    }
    const text = Buffer.concat(parts).toString('utf8');
    return response.ok ? text : fail(`refuses with status ${response.status}: ${text.slice(0, 200)}`);
  } catch (error) {
    if (error instanceof RewardError) throw error;
    stop?.throwIfAborted();
    if (late.aborted) return fail(`did not answer within ${timeout} seconds; give it more with the option timeout`);
    const { cause } = error as { cause?: { code?: string; message?: string } };
    return fail(`cannot be reached (${cause?.code ?? cause?.message ?? String(error)}); is it running?`, error);
  }
}
