/** @file The studio in a browser: a run of a tiny model is started, seen to move, stopped, resumed, killed; the form and the comparison. */
import { access } from 'node:fs/promises';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import axe from 'axe-core';
import { chromium } from 'playwright-core';
import type { Browser, Page } from 'playwright-core';
import { afterAll, expect, test } from 'vitest';
import { openStudio } from '../../src/studio/server.js';
import type { Studio } from '../../src/studio/server.js';
import { scratch, tiny } from '../cli/helpers.js';
import { writeRun } from './written-run.js';

const CHROMIUM = process.env['ATTUNE_CHROMIUM'] ?? '/usr/bin/chromium';
const root = scratch();
const runs = join(root, 'runs');
const prompts = join(root, 'prompts.txt');
writeFileSync(prompts, 'a <i>cat</i>\na dog\n');
let studio: Studio | null = null;
let browser: Browser | null = null;

afterAll(async () => {
  await browser?.close();
  await studio?.close();
});

/** A tiny run without end. */
const SETTINGS = {
  model: tiny, prompts, rewards: ['symmetry'], 'method.name': 'draft', steps: 1_000_000, batch: 1, samplingSteps: 1, size: 32, threads: 1, guidance: 1,
  checkpointEvery: 2, 'lora.rank': 1, 'lora.targets': ['to_q'], 'evaluation.every': 5, 'evaluation.prompts': 1, 'evaluation.images': 2, 'evaluation.heldOut': null,
  'evaluation.features': null, 'evaluation.sweep': [1], 'evaluation.final.prompts': 0,
};

async function opened(context: { skip(note: string): never }): Promise<Page> {
  if (!(await access(CHROMIUM).then(() => true, () => false))) context.skip('no Chromium at /usr/bin/chromium (or ATTUNE_CHROMIUM)');
  studio ??= await openStudio({ runs, port: 0 });
  browser ??= await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
  const page = await browser.newPage({ viewport: { width: 1000, height: 800 } });
  page.setDefaultTimeout(300_000);
  const faults: string[] = [];
  page.on('pageerror', (error) => faults.push(error.message));
  page.on('console', (message) => message.type() === 'error' && !/\b(?:400|404|409)\b/.test(message.text()) && faults.push(message.text()));
  page.on('close', () => expect(faults).toEqual([]));
  await page.goto(studio.url);
  expect(new URL(page.url()).search).toBe('');
  return page;
}

/** What axe finds of weight on the page as it is: rule, and the first element. */
async function faults(page: Page): Promise<string[]> {
  // By the debugger: the page's policy lets no other script in.
  return page.evaluate(`${axe.source};axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations
    .filter((v) => v.impact === 'serious' || v.impact === 'critical').map((v) => v.id + ' ' + v.nodes[0].html.slice(0, 200)))`);
}

/** Step in "… at step 12" or "running, step 12 of …". */
const stepOf = async (page: Page): Promise<number> => Number(/step (\d+)/.exec(await page.locator('.under .badge').innerText())?.[1] ?? 0);

test('a run is started in the page, moves, stops with a checkpoint, goes on, and is told to have crashed when it is killed', { timeout: 900_000 }, async (context) => {
  const page = await opened(context);
  await page.getByRole('button', { name: 'Start the first run' }).waitFor();
  const query = Object.entries(SETTINGS).map(([key, value]) => `set=${encodeURIComponent(`${key}=${JSON.stringify(value)}`)}`).join('&');
  await page.goto(`${new URL(page.url()).origin}/#/new?${query}`);
  await page.getByLabel('Name of the run').fill('tiny');
  await page.locator('.command code').filter({ hasText: '--method draft' }).waitFor();
  await page.getByRole('button', { name: 'Start', exact: true }).click();
  await page.locator('.badge.starting').waitFor();
  await page.locator('.badge.running').waitFor();
  await page.locator('.chart canvas').first().waitFor();
  await page.locator('.prompts .shot img').first().waitFor();
  expect(await page.locator('.prompts figcaption').first().innerText()).toContain('a <i>cat</i>');
  const seen = await stepOf(page);
  await expect.poll(() => stepOf(page), { timeout: 300_000 }).toBeGreaterThan(seen + 2);

  await page.getByRole('button', { name: 'Stop', exact: true }).click();
  await page.locator('.badge.stopped').waitFor();
  const stopped = await stepOf(page);
  expect(stopped).toBeGreaterThan(seen);
  // Of the last whole round: an evaluation that was under way is made again.
  const kept = page.locator('dt', { hasText: 'Last checkpoint' }).locator('xpath=following-sibling::dd[1]');
  await expect.poll(async () => Number((await kept.innerText()).replace('step ', '')), { timeout: 300_000 }).toBeGreaterThanOrEqual(stopped - 1);
  await page.getByRole('button', { name: 'Resume' }).click();
  await page.locator('.badge.running').waitFor();
  await expect.poll(() => stepOf(page), { timeout: 300_000 }).toBeGreaterThan(stopped);

  const { pid } = JSON.parse(readFileSync(join(runs, 'tiny', '.lock'), 'utf8')) as { pid: number };
  process.kill(pid, 'SIGKILL');
  await page.locator('.badge.crashed').waitFor();
  expect(await page.locator('.under .badge').innerText()).toMatch(/^crashed at step \d+$/);
  await page.close();
});

test('base and tuned model are judged blind by keyboard, DPO trains on the votes, and a strength is swept', { timeout: 900_000 }, async (context) => {
  const page = await opened(context);
  const { origin } = new URL(page.url());
  await page.goto(`${origin}/#/judge`);
  await page.getByRole('checkbox', { name: 'tiny, base model' }).check();
  await page.getByRole('checkbox', { name: /^tiny, step/ }).last().check();
  expect(await faults(page)).toEqual([]);
  await page.getByRole('button', { name: 'Begin' }).click();
  const shown = page.locator('.duel img').first();
  for (let n = 0; n < 10; n++) {
    await shown.waitFor();
    const before = await shown.getAttribute('src');
    // The page is told nothing of whose they are.
    expect(before).toMatch(/^\/api\/judge\/[\w-]+\/left$/);
    await page.keyboard.press(['ArrowLeft', 'ArrowRight', 'ArrowDown', 'ArrowUp'][n % 4]!);
    await expect.poll(() => shown.getAttribute('src'), { timeout: 60_000 }).not.toBe(before);
  }
  expect(await faults(page)).toEqual([]);
  await page.keyboard.press('z');
  await page.getByText('Taken back.').waitFor();
  await page.getByText('Results so far').click();
  expect(await page.locator('.outcome > p').first().innerText()).toMatch(/^9 votes|^8 votes/); // one may have been a repetition
  expect(await faults(page)).toEqual([]);

  await page.getByRole('button', { name: 'Train DPO on these votes' }).click();
  await page.locator('.badge.running').waitFor();
  expect(await page.locator('.under').innerText()).toContain('dpo');
  await expect.poll(() => stepOf(page), { timeout: 300_000 }).toBeGreaterThan(1);
  await page.getByRole('button', { name: 'Stop', exact: true }).click();
  await page.getByRole('button', { name: /End now|Resume/ }).click();

  await page.goto(`${origin}/#/run/tiny`);
  const swept = page.getByRole('region', { name: 'LoRA strength' });
  await swept.getByRole('button', { name: /^Make/ }).click();
  await swept.getByRole('img', { name: /strength -0.5/ }).waitFor();
  expect(await faults(page)).toEqual([]);
  await page.goto(`${origin}/#/prompts`);
  await page.getByRole('textbox', { name: 'Prompt 1', exact: true }).fill('a cat');
  await page.getByRole('textbox', { name: 'Prompt 1', exact: true }).press('Enter');
  await page.keyboard.type('a dog');
  await page.getByLabel('Name', { exact: true }).fill('mine');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Saved as').waitFor();
  expect(readFileSync(join(runs, 'prompts', 'mine.jsonl'), 'utf8')).toBe('{"prompt":"a cat"}\n{"prompt":"a dog"}\n');
  expect(await faults(page)).toEqual([]);
  await page.close();
});

test('the list, the divider of before and after, and the comparison of two runs', { timeout: 600_000 }, async (context) => {
  await writeRun(join(runs, 'one'));
  await writeRun(join(runs, 'two'));
  const page = await opened(context);
  await page.getByRole('link', { name: 'one', exact: true }).click();
  await page.locator('.prompts .shot').first().click();
  const divider = page.getByRole('slider', { name: 'Divider' });
  await divider.waitFor();
  const cut = (): Promise<string> => page.locator('.over').evaluate((e) => (e as HTMLElement).style.getPropertyValue('--cut'));
  await divider.fill('20');
  expect(await cut()).toBe('20%');
  await page.keyboard.down('b');
  expect(await cut()).toBe('100%');
  await page.keyboard.up('b');
  expect(await cut()).toBe('20%');
  await page.keyboard.press('Escape');
  expect(await faults(page)).toEqual([]);

  await page.goto(`${new URL(page.url()).origin}/#/compare?run=one&run=two`);
  await page.locator('.chart canvas').first().waitFor();
  await page.getByText('Settings that differ').waitFor();
  expect(await page.locator('.chips li').count()).toBe(2);
  expect(await faults(page)).toEqual([]);
  await page.goto(`${new URL(page.url()).origin}/#/new?like=one`);
  await page.getByLabel('steps', { exact: true }).fill('-3');
  await page.getByLabel('seed', { exact: true }).focus();
  await page.getByRole('alert').filter({ hasText: 'steps' }).waitFor();
  expect(await faults(page)).toEqual([]);
  await page.goto(`${new URL(page.url()).origin}/`);
  await page.locator('.run').first().waitFor();
  expect(await faults(page)).toEqual([]);
  await page.close();
});
