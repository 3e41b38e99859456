/** @file A whole run: from a configuration to a folder with LoRA files, pictures and a report. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Evaluation } from '../evaluation/hacking-guard.js';
import { writeAtomic } from '../formats/atomic.js';
import { openResources } from '../runtime/resources.js';
import type { Resources } from '../runtime/resources.js';
import { beforeAfter, loadParameters, sweepStrengths, writeReport, writeWeights } from './artifacts.js';
import { listCheckpoints } from './checkpoint.js';
import type { RunConfig } from './config.js';
import { deviation } from './evaluate.js';
import type { Measured } from './evaluate.js';
import { silent } from './progress.js';
import type { Progress } from './progress.js';
import { inputsOf, placeOf } from './inputs.js';
import { absolutePaths } from './paths.js';
import { openRunFolder } from './run-folder.js';
import type { RunFolder } from './run-folder.js';
import { namedConfig, openSession } from './session.js';
import type { Own, Session } from './session.js';
import { saveGrid } from './sheet.js';
import { train } from './train.js';
import type { TrainResult } from './train.js';

export interface RunOptions {
  /** Go on with the run in the folder, of the same settings and with the same `own`. */
  resume?: boolean;
  progress?: Progress;
  /** To resume though what the run computes with has changed; the change is written down. */
  force?: boolean;
  /** Once it is aborted the run ends within one network call, with a checkpoint of its last complete round. */
  signal?: AbortSignal;
  /** A reward, a method or a model of the caller's. */
  own?: Own;
}

/** What a run came to; `summary.json` in its folder. */
export interface Summary {
  readonly folder: string;
  readonly steps: number;
  readonly base: Evaluation;
  readonly tuned: Evaluation;
  /** Of the reward, in standard deviations of the base model's images. */
  readonly gainInDeviations: number;
  readonly rewardQueries: number;
  readonly seconds: number;
  readonly peakBytes: number;
  readonly ended: TrainResult['ended'];
  /** The tuned model at other strengths of its LoRA. */
  readonly sweep: readonly (Evaluation & { readonly strength: number })[];
  /** Files. */
  readonly lora: readonly string[];
  readonly report: string;
}

/**
 * Trains as configured and writes everything into the folder `path`.
 *
 * @returns null if `signal` ended the run before it was done
 * @throws ConfigError for a wrong setting, a folder that is taken, or a run that would go on with other inputs; what was
 *   saved until then stays
 */
export async function runTraining(given: RunConfig, path: string, options: RunOptions = {}): Promise<Summary | null> {
  const { resume = false, force = false, progress = silent, signal, own = {} } = options;
  // The command line knows nothing of what is the caller's own.
  const again = Object.keys(own).length > 0 ? 'runTraining and resume' : `attune train --resume ${path}`;
  const resources = openResources();
  try {
    const config = namedConfig(absolutePaths(given), own);
    const folder = await openRunFolder(path, config, { resume, warn: progress.warn });
    resources.use({ release: () => folder.close() });
    const opened = resources.use(await openSession(config, progress, own, signal));
    progress.phase('reading what the run depends on');
    const manifest = await folder.begin({ ...opened.manifest, place: placeOf(config), inputs: await inputsOf(opened) }, force);
    return await runSession({ ...opened, manifest }, folder, { resume, progress, signal, again, resources });
  } catch (error) {
    if (signal?.aborted && error === signal.reason) {
      const begun = await readFile(join(path, 'config.yaml')).then(() => true, () => false);
      progress.phase(begun ? `stopped; go on with: ${again}` : 'stopped before the run began');
      return null;
    }
    const saved = (await listCheckpoints(join(path, 'checkpoints'))).at(-1);
    if (saved !== undefined && !USER_MISTAKES.has((error as Error).name)) {
      progress.warn(`the run ends with an error; ${saved} is saved. Go on from it with: ${again}`);
    }
    throw error;
  } finally {
    await resources.release();
  }
}

/** What keeps a run from beginning or going on says itself what to do. */
const USER_MISTAKES = new Set(['ConfigError', 'FormatError', 'RewardSpecError']);

interface Running {
  resume: boolean;
  progress: Progress;
  signal: AbortSignal | undefined;
  again: string;
  resources: Resources;
}

async function runSession(session: Session, folder: RunFolder, { resume, progress, signal, again, resources }: Running): Promise<Summary | null> {
  const { config, task, prompts, evaluator } = session;
  const { path } = folder;
  const stepper = resources.use(await session.method.create(task, session.methodOptions));
  const result = await train({ config, task, stepper, prompts, evaluator, folder, resume, progress, signal });
  if (result.ended === 'interrupted') {
    progress.phase(`stopped at step ${result.step}; go on with: ${again}`);
    return null;
  }
  if (typeof result.ended === 'object') progress.warn(`stopped early to avoid reward hacking: ${result.ended.guard}`);
  await stepper.release();
  progress.phase('writing the best weights, and measuring them at several strengths');
  await folder.check();
  loadParameters(task, result.bestParameters);
  const best = result.evaluations[result.best]!.step;
  const written = await writeWeights(session, path, best);
  const swept = await sweepStrengths(session, best, result.before);
  const at = (strength: number): Measured | undefined => swept.find((s) => s.strength === strength)?.measured;
  const tuned = at(1)!;
  const base = at(0) ?? result.before ?? tuned;
  await saveGrid(folder, tuned, tuned.evaluation.step);
  await writeAtomic(join(path, 'before-after.png'), await beforeAfter(base, tuned));
  await writeReport(session, path, result, await folder.rows(), base, tuned, swept, written);
  const summary: Summary = {
    folder: path, steps: result.step, base: base.evaluation, tuned: tuned.evaluation,
    gainInDeviations: (tuned.evaluation.reward - base.evaluation.reward) / deviation(base.rewards),
    rewardQueries: task.counts.rewardQueries, seconds: result.seconds, peakBytes: result.peakBytes, ended: result.ended,
    sweep: swept.map(({ strength, measured }) => ({ strength, ...measured.evaluation })),
    lora: written.map((w) => join(path, w)), report: join(path, 'report.html'),
  };
  await writeAtomic(join(path, 'summary.json'), `${JSON.stringify(summary, null, 2)}\n`);
  return summary;
}
