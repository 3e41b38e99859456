/**
 * @file The pictures of the studio in README and docs: node tools/studio-screenshots.mjs URL RUN OTHER [FOLDER]
 * URL is what `attune studio` prints, RUN and OTHER are names of runs there. Also to look at: widths and colour schemes by
 * WIDTHS=1280,390 SCHEMES=light,dark; those of the docs are 1280 and light.
 */
import process from 'node:process';
import { chromium } from 'playwright-core';

const [url, run, other, folder = 'docs/studio'] = process.argv.slice(2);
const id = encodeURIComponent;
const PAGES = { runs: '/', run: `/run/${id(run)}`, new: '/new', compare: `/compare?run=${id(run)}&run=${id(other)}` };
const { WIDTHS = '1280', SCHEMES = 'light', CHROMIUM = '/usr/bin/chromium' } = process.env;

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
      await page.locator({ runs: '.runs .cover img', run: '.prompts img', new: '.command', compare: '.wall img' }[name]).first().waitFor();
      await page.waitForTimeout(1000);
      const suffix = width === 1280 && colorScheme === 'light' ? '' : `-${width}-${colorScheme}`;
      await page.screenshot({ path: `${folder}/${name}${suffix}.png`, fullPage: suffix !== '' });
    }
    await page.close();
  }
}
await browser.close();
