/** @file HTML from templates that escape what is put into them, and the page that reports are written on. */
import { escapeXml } from '../formats/xml.js';
import { base64 } from '../host/base64.js';
import { PAGE_STYLE } from './page-style.js';

/** Markup, as against text that is still to be escaped. */
export class Html {
  constructor(readonly markup: string) {}
}

type Content = string | number | Html | readonly Html[];

/** A template whose strings and numbers are escaped; `Html`, alone or in lists, is put in as it is. */
export function html(parts: TemplateStringsArray, ...values: readonly Content[]): Html {
  const text = (value: Content): string => {
    if (value instanceof Html) return value.markup;
    return typeof value === 'object' ? value.map((v) => v.markup).join('') : escapeXml(String(value));
  };
  return new Html(parts.map((part, i) => (i === 0 ? part : text(values[i - 1]!) + part)).join(''));
}

export const EMPTY = new Html('');

/** A script, and the SHA-256 of its text in base64, by which the page allows it: constants, so that pages need no digests. */
export interface PageScript {
  readonly text: string;
  readonly sha256: string;
}

const NO_SCRIPT: PageScript = { text: '', sha256: '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' };

/**
 * A whole page, in light or dark as the reader's system prefers. Its security policy lets it load nothing and run
 * nothing but `script`.
 */
export function page(title: string, body: Html, script = NO_SCRIPT): string {
  const policy = `default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-${script.sha256}'`;
  const { markup } = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title}</title>
<style>${new Html(PAGE_STYLE)}</style>
</head>
<body><main>${body}</main><script>${new Html(script.text)}</script></body>
</html>
`;
  return markup;
}

const MAGIC: readonly [mime: string, test: (bytes: Uint8Array) => boolean][] = [
  ['image/png', (b) => b[0] === 0x89 && b[1] === 0x50],
  ['image/jpeg', (b) => b[0] === 0xff && b[1] === 0xd8],
  ['image/webp', (b) => b[8] === 0x57 && b[9] === 0x45],
];

/** A picture file (PNG, JPEG or WebP) as an address that holds it. */
export function dataUri(bytes: Uint8Array): string {
  const mime = MAGIC.find(([, test]) => test(bytes))?.[0];
  if (!mime) throw new Error('a report holds PNG, JPEG and WebP pictures only');
  return `data:${mime};base64,${base64(bytes)}`;
}

/** A table; columns after the first are numbers, set to the right. The row `marked` stands out. */
export function table(head: readonly string[], rows: readonly (readonly string[])[], marked = -1): Html {
  const body = rows.map(([first = '', ...rest], i) =>
    html`<tr${i === marked ? new Html(' class="best"') : EMPTY}><th scope="row">${first}</th>
${rest.map((cell) => html`<td>${cell}</td>`)}</tr>`);
  return html`<div class="scroll"><table><thead><tr>${head.map((h) => html`<th scope="col">${h}</th>`)}</tr></thead>
<tbody>${body}</tbody></table></div>`;
}
