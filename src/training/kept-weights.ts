/** @file The trained weights of a run that are on disk: those of its checkpoints, the best ones in them, those kept on request. */
import { join } from 'node:path';
import { z } from 'zod';
import { guardVerdict } from '../evaluation/hacking-guard.js';
import type { Judged } from '../evaluation/hacking-guard.js';
import { ConfigError } from '../formats/errors.js';
import type { HostTensor } from '../graph/dtype.js';
import { readView } from '../runs/view.js';
import { listCheckpoints, readCheckpoint, saveCheckpoint } from './checkpoint.js';
import type { RunState } from './checkpoint.js';
import type { RunConfig } from './config.js';
import type { Trained } from './train-state.js';

/** Below a run's folder: what somebody asked to be kept. */
const SAVED = 'saved';
const AVERAGE = 'average';

/** Keeps the weights that an evaluation would take now, without what training needs to go on. @returns the path below the run's folder */
export async function saveWeights(folder: string, step: number, { task, counts }: Trained): Promise<string> {
  const average = task.copies.get('ema');
  const tensors = { parameters: task.parameters, ...(average && { [AVERAGE]: average }) };
  const path = await saveCheckpoint(join(folder, SAVED), { step, round: 0, ...counts, tensors, values: {} }, Infinity);
  return path.slice(folder.length + 1).replaceAll('\\', '/');
}

const stepsIn = async (root: string): Promise<number[]> => (await listCheckpoints(root)).map((name) => Number(name.slice('step-'.length)));

/** Steps whose weights are there, ascending. */
export async function keptSteps(folder: string): Promise<number[]> {
  const checkpoints = await stepsIn(join(folder, 'checkpoints'));
  const view = await readView(folder, { skim: true });
  // The newest checkpoint has the best weights up to then.
  const best = view?.evaluations.findLast(({ row }) => row.step <= (checkpoints.at(-1) ?? -1))?.best;
  return [...new Set([...checkpoints, ...await stepsIn(join(folder, SAVED)), ...(best === undefined || best === 0 ? [] : [best])])].toSorted((a, b) => a - b);
}

const evaluations = z.object({ evaluations: z.array(z.custom<Judged>()) });

/** Step of the best weights that a checkpoint has. */
function bestOf({ values }: RunState, { guard }: RunConfig): number | null {
  const known = evaluations.safeParse(values).data?.evaluations ?? [];
  return known.length === 0 ? null : known[guardVerdict(known, guard).best]!.step;
}

/** The weights of a run at a step, averaged if it averages. @throws ConfigError if they are not there */
export async function keptWeights(folder: string, config: RunConfig, step: number): Promise<ReadonlyMap<string, HostTensor>> {
  const name = `step-${String(step).padStart(6, '0')}`;
  for (const root of ['checkpoints', SAVED]) {
    if (!(await listCheckpoints(join(folder, root))).includes(name)) continue;
    const { tensors } = await readCheckpoint(join(folder, root, name));
    return tensors[AVERAGE] ?? tensors['parameters']!;
  }
  const newest = (await listCheckpoints(join(folder, 'checkpoints'))).at(-1);
  const state = newest === undefined ? null : await readCheckpoint(join(folder, 'checkpoints', newest));
  if (state && bestOf(state, config) === step) return state.tensors['best']!;
  const steps = await keptSteps(folder);
  throw new ConfigError(`${folder} has no weights of step ${step} any more; ${steps.length === 0 ? 'there are none' : `there are those of ${steps.join(', ')}`}`);
}
