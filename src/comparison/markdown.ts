/** @file A comparison as a section of Markdown documents, with its figures as files beside it. */
import type { Figure } from './figures.js';
import type { Plate } from './page.js';
import type { Results } from './results.js';
import { changeTable, markdownTable, priceTable, queryMatrix, resultTable } from './tables.js';
import { bestNote, CHANGE_NOTE, frechetNote, gaps, groundText, MATRIX_NOTE, priceNote, reportedNote, settingsText, TABLE_NOTE } from './wording.js';

export interface MarkdownOptions {
  /** What makes this comparison, as typed. */
  readonly command: string;
  /** Folder of the figures, seen from the document. */
  readonly figures: string;
}

export function renderMarkdown(
  results: Results, figures: readonly Figure[], plates: readonly Plate[], options: MarkdownOptions,
): string {
  const image = (caption: string, file: string): string => `![${caption}](${options.figures}/${file})`;
  const price = priceTable(results);
  const matrix = queryMatrix(results);
  const changes = changeTable(results);
  const entries = Object.entries(results.comparison.entries)
    .map(([name, settings]) => `- **${name}**: ${settingsText(settings)}`);
  const blocks = [
    `## ${results.title}`,
    `\`\`\`sh\n${options.command}\n\`\`\``,
    groundText(results),
    ...gaps(results).map((text) => `> ${text}`),
    '### At the end of training',
    markdownTable(resultTable(results, (e) => e.last)),
    TABLE_NOTE,
    frechetNote(results),
    '### At the best checkpoint',
    bestNote(results),
    markdownTable(resultTable(results, (e) => e.best)),
    ...(results.reportedOn
      ? ['### Where nothing chose it', reportedNote(results), markdownTable(resultTable(results, (e) => e.reported))] : []),
    ...(changes ? [CHANGE_NOTE, markdownTable(changes)] : []),
    ...(price ? ['### What a reward costs', priceNote(results), markdownTable(price)] : []),
    ...(matrix ? [MATRIX_NOTE, markdownTable(matrix)] : []),
    '### Figures',
    ...plates.map((p) => image(p.caption, `${p.name}.png`)),
    ...figures.map((f) => image(f.caption, `${f.name}.svg`)),
    '### Entries',
    entries.join('\n'),
  ];
  return `${blocks.filter((b) => b !== '').join('\n\n')}\n`;
}
