import { expect, test } from 'vitest';
import { parseRewards } from '../../src/rewards/registry.js';
import { readConfigFile, resolveConfig } from '../../src/training/config.js';
import { loadPrompts } from '../../src/training/prompts.js';
import { recipeAbout, recipeNames, recipePath } from '../../src/training/recipes.js';
import { chosenMethod } from '../../src/training/session.js';

test('every recipe of a paper says its source and holds settings, options, rewards and prompts that there are', async () => {
  const names = await recipeNames();
  expect(names.length).toBeGreaterThanOrEqual(13);
  for (const name of names) {
    const config = resolveConfig(await readConfigFile(await recipePath(name)), []);
    expect(() => chosenMethod(config), name).not.toThrow();
    expect(parseRewards(config.rewards)).toHaveLength(1);
    expect((await loadPrompts(config.prompts)).prompts.length, name).toBeGreaterThan(10);
    expect(await recipeAbout(name)).toMatch(/arXiv \d{4}\.\d{5}/);
  }
  await expect(recipePath('draft-aestetic')).rejects.toThrow(/no recipe "draft-aestetic".*draft-aesthetic/);
});

test('the lists of DDPO are as published', async () => {
  const animals = (await loadPrompts('ddpo-animals')).prompts;
  expect([animals.length, animals[0], animals.at(-1)]).toEqual([45, 'cat', 'kangaroo']);
  expect((await loadPrompts('ddpo-activities')).prompts).toHaveLength(135);
});
