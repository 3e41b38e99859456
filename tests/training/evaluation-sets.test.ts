import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { resolveConfig } from '../../src/training/config.js';
import { evaluationSets } from '../../src/training/evaluation-sets.js';
import type { EvaluationSets } from '../../src/training/evaluation-sets.js';
import { loadPrompts } from '../../src/training/prompts.js';
import { bundledModel } from '../../src/loading/bundled.js';
import { scratch } from '../cli/helpers.js';

const folder = scratch();

async function sets(settings: Record<string, unknown>, start: object = {}): Promise<EvaluationSets> {
  const config = resolveConfig({ ...start }, Object.entries(settings));
  return evaluationSets(config, bundledModel(config.model), await loadPrompts(config.prompts));
}

const distinct = (prompts: readonly string[]): string[] => [...new Set(prompts)];

test('the main job is chosen on its first prompts, and reported on prompts that are not trained on, then on its others', async () => {
  const { selection, reported: [heldOut, rest] } = await sets({});
  const people = (await loadPrompts('people')).prompts;
  expect(selection).toMatchObject({ list: 'people', untrained: false, first: 0 });
  expect(distinct(selection.prompts)).toEqual(people.slice(0, 8));
  expect(heldOut).toMatchObject({ list: 'heldout', untrained: true, first: 1_000_000 });
  expect([distinct(heldOut!.prompts).length, heldOut!.prompts.length]).toEqual([16, 32]);
  expect(heldOut!.prompts.some((p) => people.includes(p))).toBe(false);
  expect(rest).toMatchObject({ list: 'people', untrained: false });
  expect(rest!.prompts.some((p) => selection.prompts.includes(p))).toBe(false);
});

test('held-out prompts come from the whole list, which is sorted by kind', async () => {
  const all = (await loadPrompts('heldout')).prompts;
  const at = distinct((await sets({})).reported[0]!.prompts).map((p) => all.indexOf(p));
  const gaps = at.slice(1).map((k, i) => k - at[i]!);
  expect(at[0]).toBe(0);
  expect(Math.max(...gaps) - Math.min(...gaps)).toBeLessThanOrEqual(1);
  expect(at.at(-1)).toBeGreaterThan(all.length - 6);
});

test('what is trained on is no held-out prompt', async () => {
  const file = join(folder, 'some.txt');
  const [first, second] = (await loadPrompts('heldout')).prompts;
  await writeFile(file, `${first}\n${second}\n`);
  const { reported } = await sets({ prompts: file });
  expect(reported.map((r) => [r.list, r.untrained])).toEqual([['heldout', true], [file, false]]);
  expect(reported[0]!.prompts.some((p) => p === first || p === second)).toBe(false);
  // The list of all names has the held-out ones, which leaves none.
  expect((await sets({ prompts: 'heldout' })).reported.map((r) => r.list)).toEqual(['heldout']);
  await expect(sets({ prompts: 'heldout', 'evaluation.final.promptSet': 'heldout' })).rejects.toThrow(/final\.promptSet.*trained on/);
});

test('another model is reported on the held-out list too, unless it is told none; a short list is reported on with other noise', async () => {
  const file = join(folder, 'two.txt');
  await writeFile(file, 'a\nb\n');
  const other = { model: 'some-model', rewards: ['symmetry'], prompts: file };
  expect((await sets({}, other)).reported.map((r) => [r.list, r.untrained])).toEqual([['heldout', true], [file, false]]);
  const { reported } = await sets({ 'evaluation.final.promptSet': null }, other);
  expect(reported).toEqual([{ list: file, untrained: false, first: 1_000_000, prompts: ['a', 'a', 'b', 'b'] }]);
  const given = await sets({ 'evaluation.final.promptSet': 'heldout', 'evaluation.seed': 7 }, other);
  expect(given.reported.map((r) => [r.list, r.first])).toEqual([['heldout', 999_993], [file, 999_993]]);
  expect((await sets({ 'evaluation.final.prompts': 0 }, other)).reported).toEqual([]);
});

test('the same noise twice is refused', async () => {
  await expect(sets({ 'evaluation.final.seed': 31 })).rejects.toThrow(/final\.seed: the noise of seeds 31 to 62 overlaps .* 0 to 31/);
  expect((await sets({ 'evaluation.final.seed': 32 })).reported).toHaveLength(2);
});
