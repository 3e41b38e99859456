/** @file The report of a comparison: one self-contained page, a pure function of results and pictures. */
import { dataUri, EMPTY, Html, html, page, table } from '../evaluation/html.js';
import type { Figure } from './figures.js';
import type { Results } from './results.js';
import { changeTable, priceTable, queryMatrix, resultTable } from './tables.js';
import type { Table } from './tables.js';
import { bestNote, CHANGE_NOTE, frechetNote, gaps, groundText, MATRIX_NOTE, priceNote, reportedNote, settingsText, TABLE_NOTE } from './wording.js';

/** A picture file with what it shows. */
export interface Plate {
  /** File name without ending. */
  readonly name: string;
  readonly caption: string;
  readonly png: Buffer;
}

const shown = ({ head, rows }: Table): Html => table(head, rows);
const note = (text: string): Html => (text === '' ? EMPTY : html`<p class="muted">${text}</p>`);

const plate = ({ caption, png }: Plate): Html =>
  html`${note(caption)}<div class="scroll"><img class="plate" src="${dataUri(png)}" alt="${caption}"></div>`;

export function renderComparison(results: Results, figures: readonly Figure[], plates: readonly Plate[]): string {
  const price = priceTable(results);
  const matrix = queryMatrix(results);
  const changes = changeTable(results);
  const entries = Object.entries(results.comparison.entries)
    .map(([name, settings]) => html`<tr><th scope="row">${name}</th><td>${settingsText(settings)}</td></tr>`);
  const body = html`<header><h1>${results.title}</h1><p class="lead">${results.entries.length} entries
on ${results.common.rewards.join(' + ')}, held against each other on the same prompts, noise and budget.</p>
${note(groundText(results))}</header>
${gaps(results).map((text) => html`<p class="note">${text}</p>`)}
<h2>At the end of training</h2>${note(TABLE_NOTE)}${shown(resultTable(results, (e) => e.last))}
${note(frechetNote(results))}
${plates.length > 0 ? html`<h2>Pictures</h2>${plates.map(plate)}` : EMPTY}
<h2>Figures</h2><div class="plots">${figures.map((f) => new Html(f.draw('auto')))}</div>
<h2>At the best checkpoint</h2>
${note(bestNote(results))}${shown(resultTable(results, (e) => e.best))}
${results.reportedOn ? html`<h2>Where nothing chose it</h2>${note(reportedNote(results))}
${shown(resultTable(results, (e) => e.reported))}` : EMPTY}
${changes ? html`${note(CHANGE_NOTE)}${shown(changes)}` : EMPTY}
${price ? html`<h2>What a reward costs</h2>${note(priceNote(results))}${shown(price)}` : EMPTY}
${matrix ? html`<details><summary>Reward queries for each entry's final reward</summary>
${note(MATRIX_NOTE)}${shown(matrix)}</details>` : EMPTY}
<h2>Entries</h2><div class="scroll"><table class="plain">${entries}</table></div>
<footer>Written by Attune. This page is complete in itself and loads nothing.</footer>`;
  return page(results.title, body);
}
