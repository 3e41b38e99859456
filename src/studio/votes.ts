/**
 * @file Votes between two pictures of one prompt and seed: a line each in `votes/votes.jsonl` of the folder of runs, which
 * is only ever appended to, with the pictures beside them, which runs may write anew; and the list of image pairs made of it.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import { wilson } from '../evaluation/wilson.js';
import { appendWhole, writeAtomic } from '../formats/atomic.js';
import { exists } from '../formats/exists.js';
import { MOST_BYTES, MOST_PROMPT, readTextIfThere } from '../formats/whole-file.js';
import type { Contestant, JudgeResults, Tally } from './messages.js';

export const contestantSchema = z.strictObject({ run: z.string().min(1).max(1000), step: z.int().nonnegative(), strength: z.number().min(-100).max(100) });

/** A side as it was shown. */
const shownSchema = contestantSchema.extend({ picture: z.string().regex(/^[0-9a-f]{32}$/) });
export const choiceSchema = z.enum(['left', 'right', 'tie', 'bad']);

const voteSchema = z.object({
  type: z.literal('vote'), time: z.number(), id: z.string().regex(/^[\w-]{1,40}$/), prompt: z.string().max(MOST_PROMPT), seed: z.number().nullable(),
  left: shownSchema, right: shownSchema, choice: choiceSchema,
  /** The vote that was asked for again, with its sides swapped. */
  repeats: z.string().nullable(),
});
const lineSchema = z.discriminatedUnion('type', [voteSchema, z.object({ type: z.literal('undo'), time: z.number(), vote: z.string() })]);

type Shown = Readonly<z.infer<typeof shownSchema>>;
export type Vote = Readonly<z.infer<typeof voteSchema>>;
type Line = z.infer<typeof lineSchema>;

const votesFolder = (root: string): string => join(root, 'votes');
const fileOf = (root: string): string => join(votesFolder(root), 'votes.jsonl');
/** What `--method dpo` and a reward model's recipe read. */
export const pairsFile = (root: string): string => join(votesFolder(root), 'pairs.jsonl');

/** Name of a picture by its content. */
export const pictureName = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex').slice(0, 32);

/** Lines that are none, as of a process that was killed while it wrote, are passed over. */
function linesOf(text: string): Line[] {
  return text.split('\n').flatMap((line) => {
    try {
      const parsed = lineSchema.safeParse(JSON.parse(line));
      return parsed.success ? [parsed.data] : [];
    } catch {
      return [];
    }
  });
}

/** The votes that stand, in their order: what was undone is left out. */
export async function readVotes(root: string): Promise<Vote[]> {
  const lines = linesOf(await readTextIfThere(fileOf(root), MOST_BYTES.list) ?? '');
  const undone = new Set(lines.flatMap((line) => (line.type === 'undo' ? [line.vote] : [])));
  return lines.filter((line) => line.type === 'vote').filter(({ id }) => !undone.has(id));
}

async function append(root: string, line: Line): Promise<void> {
  const path = fileOf(root);
  const torn = (await readTextIfThere(path, MOST_BYTES.list) ?? '\n').at(-1) !== '\n';
  await appendWhole(path, `${torn ? '\n' : ''}${JSON.stringify(line)}\n`);
  await writePairs(root);
}

/** Writes a vote down, and its pictures before it. */
export async function addVote(root: string, vote: Omit<Vote, 'type' | 'time'>, pictures: readonly Uint8Array[]): Promise<void> {
  for (const bytes of pictures) {
    const path = join(votesFolder(root), 'pictures', `${pictureName(bytes)}.png`);
    if (!(await exists(path))) await writeAtomic(path, bytes);
  }
  await append(root, { type: 'vote', time: Date.now(), ...vote });
}

/** Takes back the last vote that stands. @returns whether there was one */
export async function undoVote(root: string): Promise<boolean> {
  const last = (await readVotes(root)).at(-1);
  if (last) await append(root, { type: 'undo', time: Date.now(), vote: last.id });
  return last !== undefined;
}

export const keyOf = ({ run, step, strength }: Contestant): string => JSON.stringify([run, step, step === 0 ? 1 : strength]);

/** What a vote says, whatever side things were on. */
const outcome = ({ choice, left, right }: Vote): string => (choice === 'left' ? keyOf(left) : choice === 'right' ? keyOf(right) : choice);

/** First votes and, of those that were asked for twice, whether the second was the same. */
function withRepeats(votes: readonly Vote[]): { firsts: Vote[]; same: Map<string, boolean> } {
  const byId = new Map(votes.map((vote) => [vote.id, vote]));
  const same = new Map<string, boolean>();
  const firsts = votes.filter((vote) => {
    const before = vote.repeats === null ? undefined : byId.get(vote.repeats);
    if (before) same.set(before.id, outcome(before) === outcome(vote));
    return !before;
  });
  return { firsts, same };
}

export interface ImagePairRow {
  readonly prompt: string;
  readonly winner: string;
  readonly loser: string;
}

/** The decided votes as pairs; not those that were judged otherwise when they were asked for again. */
function pairsOf(votes: readonly Vote[]): ImagePairRow[] {
  const { firsts, same } = withRepeats(votes);
  const file = ({ picture }: Shown): string => `pictures/${picture}.png`;
  return firsts.flatMap(({ id, choice, prompt, left, right }) => {
    if (same.get(id) === false || (choice !== 'left' && choice !== 'right')) return [];
    const [winner, loser] = choice === 'left' ? [left, right] : [right, left];
    return [{ prompt, winner: file(winner), loser: file(loser) }];
  });
}

const writePairs = async (root: string): Promise<void> =>
  writeAtomic(pairsFile(root), pairsOf(await readVotes(root)).map((pair) => `${JSON.stringify(pair)}\n`).join(''));

/** How often each was preferred, with Wilson's 95% intervals; a tie is half a win of both, and where both are bad nothing is. */
export function resultsOf(votes: readonly Vote[]): JudgeResults {
  const { firsts, same } = withRepeats(votes);
  const totals = new Map<string, { contestant: Contestant; wins: number; losses: number; ties: number; bad: number }>();
  const matches = new Map<string, { a: Contestant; b: Contestant; wins: number; losses: number; ties: number; bad: number }>();
  for (const { left, right, choice } of firsts) {
    const [a, b] = [left, right].map(({ run, step, strength }): Contestant => ({ run, step, strength: step === 0 ? 1 : strength })).toSorted((x, y) => (keyOf(x) < keyOf(y) ? -1 : 1)) as [Contestant, Contestant];
    const winner = choice === 'left' ? keyOf(left) : choice === 'right' ? keyOf(right) : null;
    const match = matches.get(`${keyOf(a)} ${keyOf(b)}`) ?? { a, b, wins: 0, losses: 0, ties: 0, bad: 0 };
    matches.set(`${keyOf(a)} ${keyOf(b)}`, match);
    for (const contestant of [a, b]) {
      const tally = totals.get(keyOf(contestant)) ?? { contestant, wins: 0, losses: 0, ties: 0, bad: 0 };
      totals.set(keyOf(contestant), tally);
      for (const count of contestant === a ? [tally, match] : [tally]) {
        if (winner === null) count[choice === 'tie' ? 'ties' : 'bad'] += 1;
        else count[winner === keyOf(contestant) ? 'wins' : 'losses'] += 1;
      }
    }
  }
  const told = <T extends Omit<Tally, 'share'>>(count: T): T & Tally => ({ ...count, share: wilson(count.wins + count.ties / 2, count.wins + count.losses + count.ties) });
  return {
    votes: firsts.length, pairs: pairsOf(votes).length,
    agreement: { same: [...same.values()].filter(Boolean).length, of: same.size },
    contestants: [...totals.values()].map(told).toSorted((x, y) => (y.share?.rate ?? -1) - (x.share?.rate ?? -1)),
    matches: [...matches.values()].map(told),
  };
}
