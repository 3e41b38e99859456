/**
 * @file Blind comparison of pictures of equal prompt and seed: which two are shown next, on which side, and what was
 * chosen. Whoever judges is told neither run nor step; some are asked for again with their sides swapped.
 */
import { randomBytes, randomInt } from 'node:crypto';
import { z } from 'zod';
import type { Contestant, JudgeResults, Question } from './messages.js';
import { readPicture } from './pictures.js';
import { Refusal, taken } from './reply.js';
import type { RunIndex } from './run-index.js';
import { addVote, choiceSchema, contestantSchema, keyOf, pictureName, readVotes, resultsOf, undoVote } from './votes.js';
import type { Vote } from './votes.js';

/** One vote in so many is asked for again. */
const REPEAT = 20;
/** Votes that lie between a vote and its repetition, so that it is not remembered. */
const APART = 3;
/** Questions that are open at a time, with their pictures in memory. */
const MOST_OPEN = 16;
/** Pairs that are drawn before all are taken to be the same pictures. */
const MOST_DRAWN = 200;

const nextSchema = z.strictObject({ contestants: z.array(contestantSchema).min(2, 'two are the least').max(12) });
const voteSchema = z.strictObject({ id: z.string().max(40), choice: choiceSchema });

export interface Judge {
  /** The next question between contestants; null where they have no pictures in common that differ. @throws Refusal */
  next(body: unknown): Promise<Question | null>;
  /** A picture of an open question. @throws Refusal if it is not open */
  picture(id: string, side: 'left' | 'right'): Buffer;
  vote(body: unknown): Promise<void>;
  /** Takes back the last vote. @returns whether there was one */
  undo(): Promise<boolean>;
  results(): Promise<JudgeResults>;
}

/** A picture that can be asked for. */
interface Candidate {
  readonly contestant: Contestant;
  readonly file: string;
}

interface Pair {
  readonly prompt: string;
  readonly seed: number | null;
  readonly left: Candidate;
  readonly right: Candidate;
  readonly repeats: string | null;
}

interface Open extends Pair {
  readonly bytes: { readonly left: Buffer; readonly right: Buffer };
}

/** Two contestants at a prompt and seed, whatever their order. */
const pairKey = (prompt: string, seed: number | null, a: Contestant, b: Contestant): string => JSON.stringify([prompt, seed, ...[keyOf(a), keyOf(b)].toSorted()]);

/** @param random a whole number from 0 on below what it is given */
export function openJudge(index: RunIndex, random: (below: number) => number = (below) => randomInt(below)): Judge {
  const open = new Map<string, Open>();
  /** Votes are written one after the other. */
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const now = last.then(work, work);
    last = now.catch(() => {});
    return now;
  };

  /** A contestant's pictures by prompt and seed; where the noise has no seed, by their place in that run alone. */
  async function picturesOf({ run, step, strength }: Contestant): Promise<Map<string, { prompt: string; seed: number | null; file: string }>> {
    const view = await (await index.followed(run))?.refresh();
    if (!view) throw new Refusal(404, `there is no run ${run}`);
    const at = view.images.filter((i) => i.step === step && i.strength === (step === 0 ? 1 : strength));
    return new Map(at.map(({ prompt, seed = null, index: place, file }) => [JSON.stringify([prompt, seed, seed === null ? [run, place] : null]), { prompt, seed, file }]));
  }

  async function candidates(contestants: readonly Contestant[]): Promise<Omit<Pair, 'repeats'>[]> {
    const unique = [...new Map(contestants.map((c) => [keyOf(c), c])).values()];
    const all: (readonly [Contestant, Awaited<ReturnType<typeof picturesOf>>])[] = [];
    for (const contestant of unique) all.push([contestant, await picturesOf(contestant)]);
    return all.flatMap(([a, ofA], i) => all.slice(i + 1).flatMap(([b, ofB]) => [...ofA].flatMap(([key, { prompt, seed, file }]) => {
      const other = ofB.get(key);
      return other ? [{ prompt, seed, left: { contestant: a, file }, right: { contestant: b, file: other.file } }] : [];
    })));
  }

  /** A vote to be asked for again: of these contestants, not lately, not twice; its sides swapped. */
  function repetition(votes: readonly Vote[], all: readonly Omit<Pair, 'repeats'>[]): Pair | null {
    const again = new Set(votes.map((vote) => vote.repeats));
    const files = new Map(all.map((pair) => [pairKey(pair.prompt, pair.seed, pair.left.contestant, pair.right.contestant), pair]));
    const left = votes.slice(0, -APART).flatMap((vote) => {
      const pair = files.get(pairKey(vote.prompt, vote.seed, vote.left, vote.right));
      return pair && vote.repeats === null && !again.has(vote.id) ? [{ vote, pair }] : [];
    });
    if (left.length === 0) return null;
    const { vote, pair } = left[random(left.length)]!;
    const [first, second] = keyOf(pair.left.contestant) === keyOf(vote.left) ? [pair.left, pair.right] : [pair.right, pair.left];
    return { ...pair, left: second, right: first, repeats: vote.id };
  }

  async function opened(pair: Pair): Promise<Open | null> {
    const read = async ({ contestant: { run }, file }: Candidate): Promise<Buffer> => {
      const folder = await index.folderOf(run);
      if (!folder) throw new Refusal(404, `there is no run ${run}`);
      return readPicture(folder, file);
    };
    const [left, right] = await Promise.all([read(pair.left), read(pair.right)]);
    return left.equals(right) ? null : { ...pair, bytes: { left, right } };
  }

  return {
    async next(body) {
      const all = await candidates(taken(nextSchema, body).contestants);
      const votes = await readVotes(index.root);
      const counts = new Map<string, number>();
      for (const { prompt, seed, left, right } of votes) {
        const key = pairKey(prompt, seed, left, right);
        counts.set(key, (counts.get(key) ?? 0) + 1);
      }
      const countOf = ({ prompt, seed, left, right }: Omit<Pair, 'repeats'>): number => counts.get(pairKey(prompt, seed, left.contestant, right.contestant)) ?? 0;
      const judged = all.filter((pair) => countOf(pair) > 0).length;
      const again = random(REPEAT) === 0 ? repetition(votes, all) : null;
      let found = again && await opened(again);
      for (let drawn = 0, left = [...all]; !found && left.length > 0 && drawn < MOST_DRAWN; drawn++) {
        const least = Math.min(...left.map(countOf));
        const rest = left.filter((pair) => countOf(pair) === least);
        const pair = rest[random(rest.length)]!;
        found = await opened(random(2) === 0 ? { ...pair, repeats: null } : { ...pair, left: pair.right, right: pair.left, repeats: null });
        left = left.filter((other) => other !== pair);
      }
      if (!found) return null;
      const id = randomBytes(9).toString('base64url');
      open.set(id, found);
      for (const old of [...open.keys()].slice(0, -MOST_OPEN)) open.delete(old);
      return { id, prompt: found.prompt, total: all.length, judged };
    },
    picture(id, side) {
      const question = open.get(id);
      if (!question) throw new Refusal(404, 'that question is no longer open');
      return question.bytes[side];
    },
    vote(body) {
      const { id, choice } = taken(voteSchema, body);
      return inTurn(async () => {
        const question = open.get(id);
        if (!question) throw new Refusal(409, 'that question is no longer open');
        const { prompt, seed, repeats, bytes } = question;
        const side = (of: 'left' | 'right') => ({ ...question[of].contestant, picture: pictureName(bytes[of]) });
        await addVote(index.root, { id, prompt, seed, repeats, choice, left: side('left'), right: side('right') }, [bytes.left, bytes.right]);
        open.delete(id);
      });
    },
    undo: () => inTurn(() => undoVote(index.root)),
    results: async () => resultsOf(await readVotes(index.root)),
  };
}
