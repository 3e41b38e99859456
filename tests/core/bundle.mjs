/** @file Bundling for browsers, and a browser to run it in. */
import { access, readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import process from 'node:process';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';

export async function bundle(entry, outfile) {
  const { metafile } = await build({
    entryPoints: [entry], outfile, bundle: true, platform: 'browser', format: 'esm', metafile: true, logLevel: 'silent',
  });
  return { inputs: Object.keys(metafile.inputs) };
}

const CHROMIUM = process.env['ATTUNE_CHROMIUM'] ?? '/usr/bin/chromium';
/** ONNX Runtime fetches its WebAssembly from beside the script. */
const wasm = dirname(createRequire(import.meta.url).resolve('onnxruntime-web/ort-wasm-simd-threaded.wasm'));
const TYPES = { '.html': 'text/html', '.mjs': 'text/javascript', '.wasm': 'application/wasm' };

/** Files of the folder, and of ONNX Runtime, on this machine's own address. */
function serve(folder) {
  const server = createServer((request, response) => {
    const name = basename(new URL(request.url, 'http://localhost').pathname);
    const ending = name.slice(name.lastIndexOf('.'));
    const found = readFile(join(folder, name)).catch(() => readFile(join(wasm, name)));
    found.then(
      (bytes) => response.writeHead(200, { 'content-type': TYPES[ending] ?? 'application/octet-stream' }).end(bytes),
      () => response.writeHead(404).end(),
    );
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

export async function openBrowser() {
  if (!(await access(CHROMIUM).then(() => true, () => false))) return null;
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
  return {
    async result(folder, script) {
      const server = await serve(folder);
      try {
        const page = await browser.newPage();
        await page.goto(`http://127.0.0.1:${server.address().port}/index.html`);
        // As text: the test runner would rewrite a function's import.
        return await page.evaluate(`import('/${script}').then(() => globalThis.result)`);
      } finally {
        server.close();
        server.closeAllConnections();
      }
    },
    close: () => browser.close(),
  };
}
