/** @file What the studio's server and its page tell each other. Types alone: both sides are built from them. */
import type { Share } from '../evaluation/wilson.js';
import type { Overview } from '../runs/overview.js';
import type { RunState } from '../runs/state.js';

/** How far the work at hand has come. */
export interface Doing {
  readonly phase: string;
  readonly done: number | null;
  readonly total: number | null;
  readonly detail: string;
  /** Of the whole run's training, by its pace so far; null where that is not known. */
  readonly secondsLeft: number | null;
  readonly secondsPerStep: number | null;
  /** Resident memory of the process. */
  readonly bytes: number | null;
}

/** A run in the list. */
export interface RunSummary extends Pick<Overview, 'step' | 'checkpoint' | 'base' | 'best' | 'last' | 'guard' | 'guarded' | 'began' | 'time'> {
  /** Name below the folder of runs. Requests name a run by it, and it is looked up, never made a path of. */
  readonly id: string;
  /** `starting`: this server has started it, and it is loading; `failed`: and it ended before it was a run. */
  readonly state: RunState | 'starting' | 'failed' | 'unreadable';
  readonly reason: string | null;
  readonly stopping: boolean;
  readonly method: string;
  readonly model: string;
  readonly rewards: readonly string[];
  readonly seed: number | null;
  readonly steps: number;
  /** The command that goes on with it, where that is not `attune train --resume`: the studio does not. */
  readonly again: string | null;
  readonly doing: Doing | null;
  /** Reward at each evaluation: step and value. */
  readonly curve: readonly (readonly [step: number, reward: number])[];
  readonly report: boolean;
  readonly warnings: readonly string[];
  /** The newest picture of the best evaluation, to know the run by. */
  readonly cover: PictureOf | null;
  /** Work on it beside its training, that this server has started. */
  readonly jobs: readonly Job[];
}

/** Pictures at other strengths being made, or a LoRA being written. */
export interface Job {
  readonly what: 'sweep' | 'export';
  readonly state: 'running' | 'done' | 'failed';
  /** The last that its program wrote. */
  readonly text: string;
}

/** A picture of a run, by what it is of. */
export interface PictureOf {
  readonly step: number;
  readonly strength: number;
  readonly index: number;
  /** When it was saved: another one of the same name is another picture. */
  readonly time: number;
}

export interface Picture extends PictureOf {
  readonly prompt: string;
  readonly seed: number | null;
}

/** Rows of a run by column; null where a row has no such value. `step` is there always, ascending. */
export type Columns = Readonly<Record<string, readonly (number | null)[]>>;

/** What has come to a run's log. A row of a step that is there already takes its place. */
export interface LogPart {
  readonly run: string;
  /** It begins anew: what was told before is void. */
  readonly anew: boolean;
  /** Of so many rows these are some, chosen so that extremes are among them. */
  readonly thinnedFrom: number | null;
  readonly rows: Columns;
  readonly pictures: readonly Picture[];
}

/** A folder of the server's disk, as the picker shows it. */
export interface Listing {
  readonly roots: readonly string[];
  readonly root: number;
  /** Below the root, with slashes. */
  readonly path: string;
  readonly entries: readonly {
    readonly name: string;
    readonly folder: boolean;
    readonly bytes: number | null;
    readonly path: string;
    readonly choosable: boolean;
  }[];
}

/** A model in a comparison by eye: a run's at a step and strength. Step 0 is the base model. */
export interface Contestant {
  readonly run: string;
  readonly step: number;
  readonly strength: number;
}

export interface Tally {
  readonly wins: number;
  readonly losses: number;
  readonly ties: number;
  /** Votes that neither was any good. */
  readonly bad: number;
  /** Of wins, with ties as halves; null where nothing was decided. */
  readonly share: Share | null;
}

export interface JudgeResults {
  readonly votes: number;
  /** Decided ones, which DPO and reward models can be trained on. */
  readonly pairs: number;
  /** Of the votes that were asked for twice, how many said the same. */
  readonly agreement: { readonly same: number; readonly of: number };
  readonly contestants: readonly (Tally & { readonly contestant: Contestant })[];
  /** Each against each; wins are those of `a`. */
  readonly matches: readonly (Tally & { readonly a: Contestant; readonly b: Contestant })[];
}

/** Two pictures to choose from, of which nothing is told. */
export interface Question {
  readonly id: string;
  readonly prompt: string;
  /** Pairs of prompt and seed that can be asked for, and of these how many have a vote. */
  readonly total: number;
  readonly judged: number;
}

/** A run that waits for its turn. */
export interface QueueItem {
  readonly id: string;
  /** Of the run's folder; null: time and method, when it starts. */
  readonly name: string | null;
  /** Method, model and rewards, as far as they are chosen. */
  readonly about: string;
  readonly added: number;
  /** The version that it was added by, if that is another. */
  readonly other: string | null;
  readonly state: 'waiting' | 'held' | 'started' | 'failed';
  readonly reason: string | null;
}

/** A prompt of a set that is edited. */
export interface PromptRow {
  readonly prompt: string;
  /** How often it is drawn, relative to the others. */
  readonly weight: number;
  /** Kept for evaluations, and not trained on. */
  readonly heldOut: boolean;
}
