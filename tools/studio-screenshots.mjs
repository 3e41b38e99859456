/**
 * @file The pictures of the studio in README and docs: node tools/studio-screenshots.mjs URL RUN OTHER [FOLDER]
 * URL is what `attune studio` prints, RUN and OTHER are names of runs there. Also to look at: widths and colour schemes by
 * WIDTHS=1280,390 SCHEMES=light,dark; those of the docs are 1280 and light. BEST is a step of RUN with pictures. Votes and
 * strengths are those that are there.
 */
import process from 'node:process';
import { chromium } from 'playwright-core';

const [url, run, other, folder = 'docs/studio'] = process.argv.slice(2);
const { WIDTHS = '1280', SCHEMES = 'light', CHROMIUM = '/usr/bin/chromium', BEST = '40' } = process.env;
const id = encodeURIComponent;
const side = (name, step) => `c=${id(`${step}:1:${name}`)}`;
const PAGES = {
  runs: '/', run: `/run/${id(run)}`, new: '/new', compare: `/compare?run=${id(run)}&run=${id(other)}`, prompts: '/prompts?set=people', choose: '/judge',
  judge: `/judge?${side(run, 0)}&${side(run, BEST)}`, sweep: `/run/${id(run)}`,
};
/** What is there once a page can be looked at; of the last a part is shown. */
const READY = { runs: '.runs .cover img', run: '.prompts img', new: '.command', compare: '.wall img', prompts: '.editor tr:nth-child(4)', choose: '.sides li', judge: '.duel img', sweep: '[aria-label="LoRA strength"] img' };

const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
for (const colorScheme of SCHEMES.split(',')) {
  for (const width of WIDTHS.split(',').map(Number)) {
    const page = await browser.newPage({ viewport: { width, height: 860 }, colorScheme });
    page.setDefaultTimeout(120_000);
    page.on('console', (message) => message.type() === 'error' && process.stderr.write(`${message.text()}\n`));
    page.on('pageerror', (error) => process.stderr.write(`${error.message}\n`));
    await page.goto(url);
    for (const [name, hash] of Object.entries(PAGES)) {
      await page.evaluate((to) => (globalThis.location.hash = to), hash);
      await page.locator(READY[name]).first().waitFor();
      const suffix = width === 1280 && colorScheme === 'light' ? '' : `-${width}-${colorScheme}`;
      if (name === 'judge' && suffix !== '') await page.locator('summary', { hasText: 'Results' }).click();
      await page.waitForTimeout(1000);
      const path = `${folder}/${name}${suffix}.png`;
      // A part of a page must not lie below its head.
      if (name === 'sweep') await page.setViewportSize({ width, height: 1600 });
      if (name === 'sweep') await page.locator('[aria-label="LoRA strength"]').screenshot({ path });
      else await page.screenshot({ path, fullPage: suffix !== '' });
    }
    await page.close();
  }
}
await browser.close();
