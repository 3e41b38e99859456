/** @file A whole run: from a configuration to a folder with LoRA files, pictures and a report. */
import { join } from 'node:path';
import { exists } from '../formats/exists.js';
import { compared } from '../evaluation/compared.js';
import { evaluationSchema } from '../evaluation/evaluation.js';
import { bestText, guardText } from '../evaluation/hacking-guard.js';
import { writeAtomic } from '../formats/atomic.js';
import { counted } from '../methods/counted.js';
import { shownBy } from '../runs/listeners.js';
import { savePictures } from '../runs/pictures.js';
import { firstSeed } from './evaluate.js';
import { openResources } from '../host/resources.js';
import type { Resources } from '../host/resources.js';
import { beforeAfter, writeReport, writeWeights } from './artifacts.js';
import { listCheckpoints } from './checkpoint.js';
import type { RunConfig } from './config.js';
import { measureReported, setFacts, sweepStrengths } from './final.js';
import { loadParameters } from './parameters.js';
import { silent } from '../runs/progress.js';
import type { Progress } from '../runs/progress.js';
import { inputsOf, placeOf } from './inputs.js';
import { absolutePaths } from './paths.js';
import type { RunFolder } from '../runs/folder.js';
import { roundPrompts } from './prompts.js';
import { namedConfig, openSession } from './session.js';
import type { Own, Session } from './session.js';
import { chosenPrecision } from './precision.js';
import { openRun, storedConfig } from './stored-config.js';
import type { Exported, Summary } from '../runs/summary.js';
import { train } from './train.js';
import type { TrainResult } from './train.js';

export interface RunOptions {
  /** Go on with the run in the folder, of the same settings and with the same `own`. */
  resume?: boolean;
  progress?: Progress;
  /** To resume though what the run computes with has changed; the change is written down. */
  force?: boolean;
  /** Once it is aborted, or the folder is asked to (`askToStop`), the run ends within one network call, with a checkpoint of its last complete round. */
  signal?: AbortSignal;
  /** A reward, a method or a model of the caller's. */
  own?: Own;
}

/**
 * Trains as configured and writes everything into the folder `path`.
 *
 * @returns null if it was stopped before it was done
 * @throws ConfigError for a wrong setting, a folder that is taken, or a run that would go on with other inputs; what was
 *   saved until then stays
 */
export async function runTraining(given: RunConfig, path: string, options: RunOptions = {}): Promise<Summary | null> {
  const { resume = false, force = false, progress = silent, own = {} } = options;
  const wish = new AbortController();
  const signal = AbortSignal.any([wish.signal, ...(options.signal ? [options.signal] : [])]);
  // The command line knows nothing of what is the caller's own.
  const again = Object.keys(own).length > 0 ? 'runTraining and resume' : `attune train --resume ${path}`;
  await using resources = openResources();
  let folder: RunFolder | null = null;
  try {
    const named = namedConfig(absolutePaths(given), own);
    // Decided once: a run that goes on elsewhere computes in what it was begun with.
    const asked = resume && named.precision === 'auto' ? (await storedConfig(path)).precision : named.precision;
    const reasons: string[] = [];
    const config = { ...named, precision: await chosenPrecision(asked, named.device, (text) => reasons.push(text), own.pipeline) };
    folder = await openRun(path, config, {
      resume, listeners: [shownBy(progress)], warn: progress.warn, onStop: () => wish.abort(new Error('asked to stop')),
    });
    for (const reason of reasons) folder.progress.phase(reason);
    resources.use({ release: folder.close });
    const opened = resources.use(await openSession(config, folder.progress, own, signal));
    folder.progress.phase('reading what the run depends on');
    const manifest = await folder.begin({ ...opened.manifest, place: placeOf(opened), inputs: await inputsOf(opened, signal) }, force);
    const summary = await runSession({ ...opened, manifest }, folder, { resume, signal, again, resources });
    if (!summary) await folder.stop(null);
    return summary;
  } catch (error) {
    if (signal.aborted && error === signal.reason) {
      const begun = await exists(join(path, 'config.yaml'));
      progress.phase(begun ? `stopped; go on with: ${again}` : 'stopped before the run began');
      await folder?.stop(null);
      return null;
    }
    await folder?.stop(error);
    const saved = (await listCheckpoints(join(path, 'checkpoints'))).at(-1);
    if (saved !== undefined && !USER_MISTAKES.has((error as Error).name)) {
      progress.warn(`the run ends with an error; ${saved} is saved. Go on from it with: ${again}`);
    }
    throw error;
  }
}

/** What keeps a run from beginning or going on says itself what to do. */
const USER_MISTAKES = new Set(['ConfigError', 'FormatError', 'RewardSpecError']);

interface Running {
  resume: boolean;
  signal: AbortSignal | undefined;
  again: string;
  resources: Resources;
}

async function runSession(session: Session, folder: RunFolder, { resume, signal, again, resources }: Running): Promise<Summary | null> {
  const { config, task, pipeline, memory, prompts, evaluator } = session;
  const { path, progress } = folder;
  tellGuard(session, progress);
  progress.phase(await memory.tell());
  progress.phase('encoding the prompts');
  await task.prepare(upcomingPrompts(session));
  const { task: counting, counts } = counted(task); // measuring costs the method nothing
  const rule = resources.use(await session.method.create(counting, session.methodOptions));
  const result = await train({ config, task, pipeline, counts, rule, objective: session.objective, prompts, evaluator, folder, resume, signal });
  if (result.ended === 'interrupted') {
    progress.phase(`stopped at step ${result.step}; go on with: ${again}`);
    return null;
  }
  if (typeof result.ended === 'object') progress.warn(`stopped early to avoid reward hacking: ${result.ended.guard}`);
  await rule.release();
  await folder.check();
  const best = result.evaluations[result.best]!.step;
  const { exported, files } = await exportWeights(session, path, result, progress);
  progress.phase(`measuring the best weights${task.adapter ? ' at several strengths' : ''}, where they were chosen`);
  const { base, tuned, swept } = await sweepStrengths(session, best, result.before);
  const selectedOn = setFacts(session, evaluator.selection);
  if (session.reported.length > 0) progress.phase('measuring base and best on prompts and noise that did not choose it');
  const reported = await measureReported(session, best);
  // The base model's are those of step 0.
  for (const { strength, measured } of swept.filter((s) => s.strength !== 0)) {
    await savePictures(folder, measured, { step: best, strength, seed: firstSeed(session) });
  }
  await writeAtomic(join(path, 'before-after.png'), await beforeAfter(base, tuned));
  await writeReport(session, path, {
    result, rows: await folder.rows(), before: base, after: tuned, swept, selectedOn, reported, exported,
    files: exported.flatMap((e) => files.get(e.path)!),
  });
  const chosen = compared(selectedOn, base, tuned);
  const { gainInDeviations, gainError } = reported[0] ?? chosen;
  const summary: Summary = {
    folder: path, steps: result.step, best, selectedOn, base: chosen.base, tuned: chosen.tuned, reported, gainInDeviations, gainError,
    rewardQueries: counts.rewardQueries, seconds: result.seconds, peakBytes: result.peakBytes, ended: result.ended,
    sweep: swept.map(({ strength, measured }) => ({ strength, ...evaluationSchema.parse(measured.evaluation) })),
    exported, lora: files.get(exported[0]!.path)!.map((f) => join(path, f)), report: join(path, 'report.html'),
  };
  await writeAtomic(join(path, 'summary.json'), `${JSON.stringify(summary, null, 2)}\n`);
  await folder.emit(typeof result.ended === 'object' ? { type: 'ended', how: 'guard', reason: result.ended.guard } : { type: 'ended', how: 'finished' });
  return summary;
}

/** Prompts in the order in which a run asks for them: the evaluations', then those of the rounds. */
function* upcomingPrompts({ config, prompts, evaluator, reported }: Session): Generator<string> {
  for (const set of [evaluator.selection, ...reported]) yield* set.prompts;
  // Some methods take fewer rounds than steps.
  yield* roundPrompts(prompts, config, config.steps);
}

/** Says at the start which rules guard the run, and how to have those that are idle. */
function tellGuard({ config, evaluator, pipeline }: Session, progress: Progress): void {
  const { active, missing } = guardText(evaluator.measures, config.guard);
  const { heldOut, features } = config.evaluation;
  // Who sets null knows.
  const unasked = (heldOut === 'auto' && evaluator.measures.heldOut === null) || (features === 'auto' && !evaluator.measures.features);
  if (missing === null) progress.phase(active);
  else if (unasked) progress.warn(`${active}; ${missing}`);
  else progress.phase(`${active}; ${missing}`);
  const own = [
    ...(heldOut === 'auto' && evaluator.measures.heldOut === 'self-alignment' ? ['another judge, --set evaluation.heldOut=REWARD'] : []),
    ...(features === 'auto' && evaluator.measures.features && pipeline.bundled === null ? ['other features, --set evaluation.features=CLIP_FOLDER'] : []),
  ];
  if (own.length > 0) progress.phase(`the guard measures by the base model itself; for ${own.join('; for ')}`);
}

/** Writes the best weights, and beside them the last where those are others; the task has the best then. */
async function exportWeights(
  session: Session, path: string, result: TrainResult, progress: Progress,
): Promise<{ exported: Exported[]; files: ReadonlyMap<string, readonly string[]> }> {
  const { task, config, evaluator } = session;
  progress.phase('writing the weights');
  const best = result.evaluations[result.best]!.step;
  const files = new Map<string, readonly string[]>();
  const exported: Exported[] = [];
  const write = async (which: 'best' | 'last', step: number, parameters: TrainResult['bestParameters'], why: string): Promise<void> => {
    loadParameters(task.parameters, parameters);
    const { folder, files: written, changes } = await writeWeights(session, path, which, step);
    files.set(folder, written);
    exported.unshift({ path: folder, step, why, changes });
  };
  const rule = bestText(evaluator.measures, config.guard);
  // The last ones first: they may be the task's own, which the best ones take the place of.
  if (best !== result.step) await write('last', result.step, result.lastParameters, 'The last weights.');
  await write('best', best, result.bestParameters, best === 0 ? `No checkpoint was better than the base model by the rule: ${rule}` : rule);
  const [chosen, last] = exported as [Exported, Exported?];
  const idle = exported.filter((e) => !e.changes);
  for (const e of idle) progress.warn(`${e.path}/ has no effect: its pictures are the base model's. ${e.why}`);
  if (last) progress.phase(`${chosen.path}/ holds step ${chosen.step}, the best; ${last.path}/ holds step ${last.step}, the last`);
  return { exported, files };
}
