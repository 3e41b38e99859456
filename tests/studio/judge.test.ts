/** @file Votes: blind pairs of equal prompt and seed, repetitions with sides swapped, what is written, counted and trained on. */
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { wilson } from '../../src/evaluation/wilson.js';
import { openJudge } from '../../src/studio/judge.js';
import type { Judge } from '../../src/studio/judge.js';
import type { JudgeResults, Question } from '../../src/studio/messages.js';
import { openRunIndex } from '../../src/studio/run-index.js';
import { openStudio } from '../../src/studio/server.js';
import type { Studio } from '../../src/studio/server.js';
import { pairsFile, readVotes } from '../../src/studio/votes.js';
import { readPairs } from '../../src/training/image-pairs.js';
import { scratch } from '../cli/helpers.js';
import { get, post } from './ask.js';
import { append, image, writePicture, writeRun } from './written-run.js';

const runs = join(scratch(), 'runs');
const COUNT = 6;
const contestants = [{ run: 'one', step: 0, strength: 1 }, { run: 'one', step: 2, strength: 1 }];
let studio: Studio;

beforeAll(async () => {
  await writeRun(join(runs, 'one'));
  for (let i = 1; i < COUNT; i++) {
    append(join(runs, 'one'), image(0, i), image(2, i));
    for (const n of [0, 2]) await writePicture(join(runs, 'one'), n + 7 * i, i, 16, n);
  }
  studio = await openStudio({ runs, port: 0 });
});
afterAll(() => studio.close());

/** Whether the picture on a side is the base model's. */
const isBase = (judge: Judge, { id }: Question, side: 'left' | 'right', i: number): boolean =>
  judge.picture(id, side).equals(readFileSync(join(runs, 'one', `samples/step-000000/${String(i).padStart(3, '0')}.png`)));

async function question(): Promise<Question | null> {
  return (JSON.parse((await post(studio, '/api/judge/next', { contestants })).text) as { question: Question | null }).question;
}

test('Wilson\'s interval', () => {
  expect(wilson(0, 0)).toBe(null);
  expect(wilson(5, 10)).toMatchObject({ rate: 0.5, low: expect.closeTo(0.2366, 3) as number, high: expect.closeTo(0.7634, 3) as number });
  expect(wilson(0, 10)).toMatchObject({ low: 0, high: expect.closeTo(0.2775, 3) as number });
  expect(wilson(10, 10)!.high).toBe(1);
});

test('a question tells neither run nor step; votes are written with their pictures, taken back, and made into pairs that DPO reads', async () => {
  const first = (await question())!;
  expect(first).toEqual({ id: expect.any(String) as string, prompt: 'a <b>cook</b>', total: COUNT, judged: 0 });
  for (const side of ['left', 'right']) {
    const picture = await get(studio, `/api/judge/${first.id}/${side}`);
    expect(picture).toMatchObject({ status: 200, headers: { 'content-type': 'image/png', 'cache-control': 'no-store' } });
  }
  const left = (await get(studio, `/api/judge/${first.id}/left`)).bytes;
  expect((await post(studio, '/api/judge/vote', { id: first.id, choice: 'left' })).status).toBe(200);
  // Pictures that were voted on stay, whatever the run writes later.
  const [pair] = await readPairs(pairsFile(runs));
  expect(pair!.prompt).toBe('a <b>cook</b>');
  expect(readFileSync(pair!.winner).equals(left)).toBe(true);
  expect(readFileSync(pair!.loser).equals(left)).toBe(false);
  for (const choice of ['tie', 'bad', 'right']) await post(studio, '/api/judge/vote', { id: (await question())!.id, choice });
  expect(await readPairs(pairsFile(runs))).toHaveLength(2);
  const results = JSON.parse((await get(studio, '/api/judge/results')).text) as JudgeResults;
  expect(results).toMatchObject({ votes: 4, pairs: 2, matches: [{ ties: 1, bad: 1 }] });
  expect(results.contestants.map(({ wins, losses, ties, bad }) => wins + losses + ties + bad)).toEqual([4, 4]);
  expect(results.contestants.reduce((n, c) => n + c.share!.rate, 0)).toBeCloseTo(1);
  expect(JSON.parse((await post(studio, '/api/judge/undo', {})).text)).toEqual({ undone: true });
  expect(await readPairs(pairsFile(runs))).toHaveLength(1);
  // Nothing that was written is ever changed.
  expect(readFileSync(join(runs, 'votes', 'votes.jsonl'), 'utf8').trim().split('\n')).toHaveLength(5);
  appendFileSync(join(runs, 'votes', 'votes.jsonl'), '{"type":"vo');
  await post(studio, '/api/judge/vote', { id: (await question())!.id, choice: 'left' });
  expect(await readVotes(runs)).toHaveLength(4);
});

test('every pair is asked for once before any is twice, on either side; a repetition has its sides swapped and counts as agreement alone', async () => {
  const index = openRunIndex(runs);
  await index.summaries();
  let [seed, repeats] = [1, 0];
  // The first number of each question says whether it is a repetition.
  const judge = openJudge(index, (below) => (below === 20 ? repeats === 0 ? 1 : 0 : (seed = (seed * 48271) % 2147483647) % below));
  while (await judge.undo());
  const sides = new Set<boolean>();
  const seen = new Set<number>();
  const boldly = async (wrong = false): Promise<void> => {
    const asked = (await judge.next({ contestants }))!;
    const at = Array.from({ length: COUNT }, (_, i) => i).find((i) => isBase(judge, asked, 'left', i) || isBase(judge, asked, 'right', i))!;
    sides.add(isBase(judge, asked, 'left', at));
    seen.add(at);
    await judge.vote({ id: asked.id, choice: isBase(judge, asked, 'left', at) === wrong ? 'left' : 'right' }); // the tuned one
  };
  for (let i = 0; i < COUNT; i++) await boldly();
  expect(seen.size).toBe(COUNT);
  expect(sides.size).toBe(2);
  expect((await judge.results()).contestants[0]).toMatchObject({ contestant: { step: 2 }, wins: COUNT, share: { rate: 1 } });
  repeats = 1;
  await boldly();
  await boldly(true);
  const votes = await readVotes(runs);
  for (const again of votes.slice(-2)) {
    const before = votes.find((v) => v.id === again.repeats)!;
    expect([again.left, again.right]).toEqual([before.right, before.left]);
  }
  expect(new Set(votes.slice(-2).map((v) => v.repeats)).size).toBe(2);
  expect(await judge.results()).toMatchObject({ votes: COUNT, pairs: COUNT - 1, agreement: { same: 1, of: 2 } });
});

test('hostile questions and votes are refused', async () => {
  for (const body of [{}, { contestants: [contestants[0]] }, { contestants: [{ run: 'one', step: -1, strength: 1 }, contestants[0]] }, { contestants: Array(13).fill(contestants[0]) }, { contestants, extra: 1 }]) {
    expect((await post(studio, '/api/judge/next', body)).status).toBe(400);
  }
  expect((await post(studio, '/api/judge/next', { contestants: [contestants[0], { run: '../one', step: 0, strength: 1 }] })).status).toBe(404);
  expect(JSON.parse((await post(studio, '/api/judge/next', { contestants: [contestants[0], { ...contestants[0], strength: 2 }] })).text)).toEqual({ question: null });
  const { id } = (await question())!;
  expect((await post(studio, '/api/judge/vote', { id, choice: 'best' })).status).toBe(400);
  expect((await post(studio, '/api/judge/vote', { id: '../../x', choice: 'left' })).status).toBe(409);
  expect((await get(studio, `/api/judge/${id}/middle`)).status).toBe(404);
  expect((await get(studio, '/api/judge/..%2f..%2fx/left')).status).toBe(404);
  expect((await post(studio, '/api/judge/vote', { id, choice: 'tie' })).status).toBe(200);
  expect((await post(studio, '/api/judge/vote', { id, choice: 'tie' })).status).toBe(409);
  expect((await post(studio, '/api/judge/dpo', { run: '../one' })).status).toBe(404);
  expect(existsSync(join(runs, '..', 'votes'))).toBe(false);
});
