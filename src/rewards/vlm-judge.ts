/**
 * @file A vision-language model as judge, over any endpoint that speaks OpenAI's chat completions: the five aspects of
 * Diffusion-Sharpening's grader (arXiv 2502.12146) and an overall mark. What cannot be read is asked again, then left out
 * and counted; no score is ever made up.
 */
import { z } from 'zod';
import { readBounded, TooLongError } from '../formats/bounded-answer.js';
import { shown } from '../formats/errors.js';
import { environmentSecret, openAddress, withoutSecrets } from '../formats/url-secrets.js';
import type { HostTensor } from '../graph/dtype.js';
import { host } from '../graph/dtype.js';
import { base64 } from '../host/base64.js';
import { RewardError, RewardSpecError } from './reward.js';
import type { BlackBoxReward } from './reward.js';
import { takeRows } from './rows.js';

const ASPECTS = ['accuracy_to_prompt', 'creativity', 'visual_quality', 'consistency', 'emotional_resonance'] as const;
export const VLM_ASPECTS = [...ASPECTS, 'overall'] as const;
export type VlmAspect = (typeof VLM_ASPECTS)[number] | 'mean';

/** An answer holds six numbers and a little text. */
const ANSWER_BYTES = 1 << 18;

const mark = z.number().min(0).max(10);
const marksSchema = z.strictObject(Object.fromEntries(VLM_ASPECTS.map((name) => [name, mark])) as Record<(typeof VLM_ASPECTS)[number], typeof mark>);
type Marks = z.infer<typeof marksSchema>;
const answerSchema = z.object({ choices: z.tuple([z.object({ message: z.object({ content: z.string() }) })]).rest(z.unknown()) });

export interface VlmJudgeOptions {
  /** `…/v1/chat/completions` of any server that speaks so; secrets as names of environment variables in braces. */
  readonly url: string;
  readonly model: string;
  /** Environment variable that holds the key; without one none is sent. */
  readonly keyVariable?: string | undefined;
  /** Which mark is the score; `mean` is that of the five aspects. */
  readonly aspect: VlmAspect;
  /** Seconds that an answer may take. */
  readonly timeout: number;
  /** How often an answer that cannot be read, or none, is asked for again. */
  readonly retries: number;
  /** Largest share of a batch's images that may stay without a score: they count as the mean of the others, which leaves mean and advantages as they are. */
  readonly skip: number;
}

const question = (prompt: string): string => 'Grade how well the image answers the prompt, strictly, as an experienced reviewer of generated pictures would.\n'
  + `Prompt: ${JSON.stringify(prompt)}\n`
  + 'Give a number from 0 (worst) to 10 (best) for each of these:\n'
  + '- accuracy_to_prompt: every object, attribute, number and relation that the prompt names is there, and right\n'
  + '- creativity: an original idea or composition\n'
  + '- visual_quality: sharp, well lit, without artefacts\n'
  + '- consistency: parts fit together, anatomy and perspective are right\n'
  + '- emotional_resonance: it evokes the mood that the prompt suggests\n'
  + '- overall: the picture as a whole\n'
  + `Answer with one JSON object that has exactly these six keys and nothing else: {${VLM_ASPECTS.map((name) => `"${name}": number`).join(', ')}}`;

/** The marks of an answer's text: one JSON object, fenced or not, and nothing beside it; null for anything else. */
export function parseMarks(text: string): Marks | null {
  const bare = /^\s*(?:```(?:json)?\s*)?(\{[^{}]*\})\s*(?:```)?\s*$/.exec(text)?.[1];
  if (bare === undefined) return null;
  try {
    const parsed = marksSchema.safeParse(JSON.parse(bare));
    return parsed.success ? parsed.data : null;
  } catch {
    return null;
  }
}

const scoreOf = (marks: Marks, aspect: VlmAspect): number =>
  (aspect === 'mean' ? ASPECTS.reduce((total, name) => total + marks[name], 0) / ASPECTS.length : marks[aspect]) / 10;

export interface VlmJudge extends BlackBoxReward {
  /** Images asked about, answers that had to be asked for again, and images that stayed without a score. */
  readonly counts: Readonly<{ asked: number; retried: number; skipped: number }>;
}

/**
 * Each image with its own prompt, one request each. Scores are marks over 10.
 *
 * @param warn told of each image that stays without a score
 * @throws RewardSpecError for a key that is not set; RewardError if the endpoint refuses, or more than `skip` of a batch has no score
 */
export function vlmJudge(
  name: string, options: VlmJudgeOptions, encodePng: (image: HostTensor) => Promise<Uint8Array>, warn: (text: string) => void = () => {},
): VlmJudge {
  const { model, keyVariable, aspect, timeout, retries, skip } = options;
  const where = withoutSecrets(options.url);
  const { url, headers, hide, key } = (() => {
    try {
      return { ...openAddress(options.url), key: keyVariable === undefined ? undefined : environmentSecret(keyVariable) };
    } catch (cause) {
      throw new RewardSpecError(`Reward ${name}, ${where}: ${(cause as Error).message}.`);
    }
  })();
  const counts = { asked: 0, retried: 0, skipped: 0 };
  /** What may be shown of a server's text: neither the address' secrets nor the key. */
  const safe = (text: string): string => shown(hide(key === undefined ? text : text.replaceAll(key, '…')));
  const fail = (problem: string, cause?: unknown): never => {
    throw new RewardError(`reward ${name}: the judge at ${where} ${safe(problem)}`, { cause });
  };

  /** The text of the model's answer; null for an answer that is late, broken or not the protocol's. */
  async function ask(body: string, stop: AbortSignal | undefined): Promise<string | null> {
    const late = AbortSignal.timeout(timeout * 1000);
    const signal = stop ? AbortSignal.any([stop, late]) : late;
    try {
      const response = await fetch(url, {
        method: 'POST', body, signal, redirect: 'error',
        headers: { ...headers, 'content-type': 'application/json', ...(key !== undefined && { authorization: `Bearer ${key}` }) },
      });
      const text = new TextDecoder().decode(await readBounded(response, ANSWER_BYTES));
      // Too many requests, or a fault of the server: later it may work. All else will be refused again.
      if (response.status === 429 || response.status >= 500) return null;
      if (!response.ok) return fail(`refuses with status ${response.status}: ${text.slice(0, 200)}`);
      const parsed = answerSchema.safeParse(JSON.parse(text));
      return parsed.success ? parsed.data.choices[0].message.content : null;
    } catch (error) {
      stop?.throwIfAborted();
      if (error instanceof RewardError) throw error;
      if (late.aborted || error instanceof SyntaxError || error instanceof TooLongError) return null;
      const { cause } = error as { cause?: { code?: string; message?: string } };
      return fail(`cannot be reached (${cause?.code ?? cause?.message ?? String(error)}); is it running?`, error);
    }
  }

  async function judge(image: HostTensor, prompt: string, stop: AbortSignal | undefined): Promise<number | null> {
    const data = `data:image/png;base64,${base64(await encodePng(image))}`;
    const content = [{ type: 'text', text: question(prompt) }, { type: 'image_url', image_url: { url: data } }];
    const body = JSON.stringify({ model, max_tokens: 1000, temperature: 0, messages: [{ role: 'user', content }] });
    counts.asked += 1;
    for (let attempt = 0; attempt <= retries; attempt++) {
      if (attempt > 0) counts.retried += 1;
      const text = await ask(body, stop);
      const marks = text === null ? null : parseMarks(text);
      if (marks) return scoreOf(marks, aspect);
    }
    return null;
  }

  return {
    name,
    description: `${aspect} by ${model} at ${where}, marks over 10`,
    range: [0, 1],
    differentiable: false,
    counts,
    async score(images, prompts, stop) {
      const scores: (number | null)[] = [];
      for (const [i, prompt] of prompts.entries()) {
        scores.push(await judge(host(takeRows(images, i, 1).data, images.shape.slice(1)), prompt, stop));
      }
      const known = scores.filter((s) => s !== null);
      const missing = scores.length - known.length;
      counts.skipped += missing;
      if (missing > 0 && (known.length === 0 || missing > skip * scores.length)) {
        fail(`gave no marks that can be read for ${missing} of ${scores.length} images, each asked ${retries + 1} times within ${timeout} seconds`);
      }
      if (missing > 0) warn(`${name}: ${missing} of ${scores.length} images have no marks that can be read; they count as the mean of the others (${counts.skipped} of ${counts.asked} so far)`);
      const mean = known.reduce((a, b) => a + b, 0) / Math.max(1, known.length);
      return Float32Array.from(scores, (s) => s ?? mean);
    },
  };
}
