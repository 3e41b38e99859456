/** @file From the run folders of a comparison to its report: page, Markdown, numbers, figures. */
import { join } from 'node:path';
import { writeAtomic } from '../formats/atomic.js';
import { loadPrompts } from '../training/prompts.js';
import { sheetColumns } from '../training/sheet.js';
import type { Comparison, Job } from './config.js';
import { entriesOf } from './config.js';
import { jobState } from './execute.js';
import { figuresOf } from './figures.js';
import { renderMarkdown } from './markdown.js';
import { renderComparison } from './page.js';
import type { Plate } from './page.js';
import { cutPictures, pictureTable } from './pictures.js';
import type { Sheet } from './pictures.js';
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

async function sheetOf({ job: { config, folder }, record }: Finished, root: string): Promise<Sheet> {
  const { promptSet, prompts, images } = config.evaluation;
  const list = (await loadPrompts(promptSet ?? config.prompts)).prompts.slice(0, prompts);
  const step = String(record.points.at(-1)!.step).padStart(6, '0');
  const path = join(root, folder, 'samples', `step-${step}.png`);
  return { path, prompts: list, images, columns: sheetColumns(images) };
}

async function platesOf(runs: readonly Finished[], root: string): Promise<Plate[]> {
  const sheets = await Promise.all(runs.map((run) => sheetOf(run, root)));
  const first = sheets[0];
  if (!first) return [];
  const table = async (wanted: readonly (readonly [number, number])[]): Promise<Buffer> => pictureTable(
    wanted.map(([prompt]) => first.prompts[prompt]!),
    await Promise.all(runs.map(async ({ job }, i) =>
      ({ label: job.entry, pictures: await cutPictures(sheets[i]!, wanted) }))),
  );
  const many = first.prompts.slice(0, MOST_PROMPTS).map((_, p) => [p, 0] as const);
  const perPrompt = Math.max(1, Math.floor(MOST_PROMPTS / first.images));
  const all = Array.from({ length: first.images }, (_, i) => i);
  const few = first.prompts.slice(0, perPrompt).flatMap((_, p) => all.map((i) => [p, i] as const));
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
 */
export async function writeComparison(
  comparison: Comparison, jobs: readonly Job[], root: string, failures: readonly Failure[], command: string,
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
  const plates = await platesOf(shownRuns(runs, comparison), root);
  for (const f of figures) await writeAtomic(join(root, 'figures', `${f.name}.svg`), f.draw('light'));
  for (const p of plates) await writeAtomic(join(root, 'figures', `${p.name}.png`), p.png);
  await writeAtomic(join(root, 'results.json'), `${JSON.stringify(results, null, 2)}\n`);
  const markdown = renderMarkdown(results, figures, plates, { command, figures: 'figures' });
  await writeAtomic(join(root, 'results.md'), markdown);
  await writeAtomic(join(root, 'report.html'), renderComparison(results, figures, plates));
  return results;
}
