/** @file Pictures of the same prompts and noise in rows of entries. */
import sharp from 'sharp';
import { escapeXml } from '../formats/xml.js';
import { COLORS, FONT_FAMILY } from '../evaluation/plot-style.js';
import { textWidth } from '../evaluation/plot-labels.js';

export interface PictureRow {
  readonly label: string;
  /** Picture files, one for each column; null leaves it empty. */
  readonly pictures: readonly (Buffer | null)[];
}

const SIDE = 96;
const GAP = 4;
const FONT = 13;

/** Rows with their names at the left under a line of column titles, as a PNG file with few colours. */
export async function pictureTable(columns: readonly string[], rows: readonly PictureRow[]): Promise<Buffer> {
  const left = Math.ceil(Math.max(...rows.map((r) => textWidth(r.label, FONT)))) + 3 * GAP;
  const top = FONT + 3 * GAP;
  const width = left + columns.length * (SIDE + GAP) + GAP;
  const height = top + rows.length * (SIDE + GAP);
  const { surface, ink, muted } = COLORS.light;
  const room = Math.floor(SIDE / (0.56 * FONT));
  const cut = (title: string): string => (title.length > room ? `${title.slice(0, room - 1)}…` : title);
  const titles = columns.map((title, i) =>
    `<text x="${left + i * (SIDE + GAP)}" y="${FONT + GAP}" fill="${muted}">${escapeXml(cut(title))}</text>`);
  const middle = (row: number): number => top + row * (SIDE + GAP) + (SIDE + FONT) / 2;
  const labels = rows.map(({ label }, i) =>
    `<text x="${2 * GAP}" y="${middle(i)}" fill="${ink}">${escapeXml(label)}</text>`);
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" `
    + `font-family='${FONT_FAMILY}' font-size="${FONT}"><rect width="${width}" height="${height}" fill="${surface}"/>`
    + `${titles.join('')}${labels.join('')}</svg>`;
  const placed = await Promise.all(rows.flatMap(({ pictures }, r) => pictures.map(async (picture, c) => (picture === null ? [] : {
    input: await sharp(picture).resize(SIDE, SIDE, { fit: 'contain', background: '#fff' }).toBuffer(),
    left: left + c * (SIDE + GAP), top: top + r * (SIDE + GAP),
  }))));
  return sharp(Buffer.from(svg)).composite(placed.flat()).png({ palette: true, quality: 95, effort: 8 }).toBuffer();
}
