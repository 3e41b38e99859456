/** @file From the run folders of a comparison to its report: page, Markdown, numbers, figures. */
import { join } from 'node:path';
import { writeAtomic } from '../formats/atomic.js';
import { openPicture } from '../formats/image.js';
import { picturesAt } from '../runs/pictures.js';
import { readView } from '../runs/view.js';
import type { Comparison, Job } from './config.js';
import { entriesOf } from './config.js';
import { jobState } from './execute.js';
import { figuresOf } from './figures.js';
import { renderMarkdown } from './markdown.js';
import { renderComparison } from './page.js';
import type { Plate } from './page.js';
import { pictureTable } from './pictures.js';
import { gather } from './results.js';
import type { Failure, Results } from './results.js';
import { readRun } from './run-record.js';
import type { RunRecord } from './run-record.js';

interface Finished {
  readonly job: Job;
  readonly record: RunRecord;
}

/** Prompts that a picture table has room for. */
const MOST_PROMPTS = 10;

/** The runs to show: the base model's, and each entry's first seed. */
function shownRuns(runs: readonly Finished[], comparison: Comparison): Finished[] {
  return entriesOf(comparison).flatMap((name) => runs.find(({ job }) => job.entry === name) ?? []);
}

/** The last pictures of a run, by prompt in the order of its evaluation. */
interface Shown {
  readonly entry: string;
  readonly pictures: ReadonlyMap<string, readonly string[]>;
}

/** The files of a run's last pictures; null for a run of before single pictures were saved. */
async function shownOf({ job, record }: Finished, root: string): Promise<Shown | null> {
  const folder = join(root, job.folder);
  const view = await readView(folder, { skim: true });
  const pictures = view ? picturesAt(view, record.points.at(-1)!.step) : [];
  if (pictures.length === 0) return null;
  const files = new Map<string, string[]>();
  for (const { prompt, file } of pictures) files.set(prompt, [...(files.get(prompt) ?? []), join(folder, file)]);
  return { entry: job.entry, pictures: files };
}

async function platesOf(runs: readonly Finished[], root: string, warn: (text: string) => void): Promise<Plate[]> {
  const all = await Promise.all(runs.map((run) => shownOf(run, root)));
  const old = runs.filter((_, i) => !all[i]).map(({ job }) => job.entry);
  if (old.length > 0) warn(`no pictures of ${old.join(', ')}: made by a version of Attune that saved none by themselves`);
  const shown = all.filter((s) => s !== null);
  const [first] = shown;
  if (!first) return [];
  const prompts = [...first.pictures.keys()];
  const images = first.pictures.get(prompts[0]!)!.length;
  const lost = new Set<string>();
  /** Null for one that was deleted or damaged since: a report of hours of work is not lost for it. */
  const picture = (file: string): Promise<Buffer | null> => openPicture(file).then((p) => p.toBuffer()).catch((error: unknown) => {
    if (!lost.has(file)) warn(`a picture is left out: ${error instanceof Error ? error.message : String(error)}`);
    lost.add(file);
    return null;
  });
  const table = async (wanted: readonly (readonly [prompt: string, image: number])[]): Promise<Buffer> => pictureTable(
    wanted.map(([prompt]) => prompt),
    await Promise.all(shown.map(async ({ entry, pictures }) => ({
      label: entry,
      pictures: await Promise.all(wanted.map(async ([prompt, image]) => {
        const file = pictures.get(prompt)?.[image];
        return file === undefined ? null : picture(file);
      })),
    }))),
  );
  const many = prompts.slice(0, MOST_PROMPTS).map((prompt) => [prompt, 0] as const);
  const perPrompt = Math.max(1, Math.floor(MOST_PROMPTS / images));
  const few = prompts.slice(0, perPrompt).flatMap((prompt) => Array.from({ length: images }, (_, i) => [prompt, i] as const));
  return [
    {
      name: 'pictures',
      caption: 'One picture of each prompt at the end of training, from the same noise in every row but best-of-n\'s.',
      png: await table(many),
    },
    {
      name: 'pictures-of-a-prompt',
      caption: 'All pictures of the first prompts at the end of training: how alike they have become.',
      png: await table(few),
    },
  ];
}

/**
 * Writes `report.html`, `results.md`, `results.json` and `figures/` from the runs that are finished.
 *
 * @param command what the user typed, for the Markdown
 * @param warn told of what the report is without
 */
export async function writeComparison(
  comparison: Comparison, jobs: readonly Job[], root: string, failures: readonly Failure[], command: string,
  warn: (text: string) => void,
): Promise<Results> {
  const states = await Promise.all(jobs.map((job) => jobState(job, root)));
  const done = jobs.filter((_, i) => states[i] === 'done');
  const runs = await Promise.all(done.map(async (job): Promise<Finished> =>
    ({ job, record: await readRun(join(root, job.folder), job.entry, job.seed) })));
  const { model, rewards, prompts, samplingSteps, guidance, evaluation, guard } = jobs[0]!.config;
  const results = gather(comparison, runs.map((r) => r.record), {
    common: { model, rewards, prompts, samplingSteps, guidance, evaluation, guard },
    independentFrechet: runs.find(({ job }) => job.kind.name === 'base')?.record.independentFrechet ?? null,
    failures,
    missing: jobs.length - done.length - failures.length,
  });
  const figures = figuresOf(results);
  const plates = await platesOf(shownRuns(runs, comparison), root, warn);
  for (const f of figures) await writeAtomic(join(root, 'figures', `${f.name}.svg`), f.draw('light'));
  for (const p of plates) await writeAtomic(join(root, 'figures', `${p.name}.png`), p.png);
  await writeAtomic(join(root, 'results.json'), `${JSON.stringify(results, null, 2)}\n`);
  const markdown = renderMarkdown(results, figures, plates, { command, figures: 'figures' });
  await writeAtomic(join(root, 'results.md'), markdown);
  await writeAtomic(join(root, 'report.html'), renderComparison(results, figures, plates));
  return results;
}
