/** @file Builds the studio's page into dist/studio-page, which the package brings along: `npm run build` runs it. */
import { cp } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const from = fileURLToPath(new URL('../studio', import.meta.url));
const to = fileURLToPath(new URL('../dist/studio-page', import.meta.url));

await build({
  entryPoints: [`${from}/main.tsx`, `${from}/style.css`], outdir: to, bundle: true, minify: true, format: 'esm', target: 'es2022', platform: 'browser',
  jsx: 'automatic', jsxImportSource: 'preact', logLevel: 'warning', legalComments: 'none',
});
for (const name of ['index.html', 'icon.svg']) await cp(`${from}/${name}`, `${to}/${name}`);
