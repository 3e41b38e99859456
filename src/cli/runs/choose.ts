/** @file Which run is meant, and how its numbers are told. */
import { join } from 'node:path';
import type { Evaluation } from '../../evaluation/evaluation.js';
import { isRun } from '../../runs/overview.js';
import type { Overview } from '../../runs/overview.js';
import { UsageError } from '../arguments.js';

/** Where `train` writes runs. */
export const RUNS = 'runs';

/** The folder of a run given by its path, or by its name below `runs`. @throws UsageError if there is none */
export async function chosenRun(name: string): Promise<string> {
  for (const folder of [name, join(RUNS, name)]) if (await isRun(folder)) return folder;
  throw new UsageError(`there is no run ${name}, and none of that name in ${RUNS}/; attune runs [FOLDER] lists those that there are`);
}

export const number = (x: number | null | undefined): string => (x === null || x === undefined ? '–' : String(Number(x.toPrecision(4))));

const pad = (n: number): string => String(n).padStart(2, '0');

/** Local date and time to the minute. */
export function dateText(time: number): string {
  const d = new Date(time);
  return Number.isNaN(d.getTime()) ? '–' : `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())} ${pad(d.getHours())}:${pad(d.getMinutes())}`;
}

/** What became of a run, in a sentence without its end. */
export function stateText({ state, reason, step, settings, checkpoint }: Overview): string {
  const why = reason === null ? '' : `: ${reason}`;
  if (state === 'finished') return `finished at step ${step}${why}`;
  const kept = checkpoint === null ? 'no checkpoint' : `last checkpoint ${checkpoint}`;
  return `${state} at step ${step} of ${settings.steps}, ${kept}${why}`;
}

/** "1.751 at 40", "base" where nothing beat it. */
export const bestText = (best: Evaluation | null): string =>
  (best === null ? '–' : best.step === 0 ? 'the base model' : `${number(best.reward)} at ${best.step}`);

/** An overview as data for other programs. */
export function facts(run: Overview): object {
  const { folder, state, reason, settings, step, checkpoint, base, best, last, guard, guarded, began, time } = run;
  const { method, model, rewards, steps, seed } = settings;
  return { folder, state, reason, method: method.name, model, rewards, seed, step, steps, checkpoint, base, best, last, guard, guarded, began, time };
}
