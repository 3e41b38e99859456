/** @file Pictures of the same prompts and noise in rows of entries, cut from the sheets that the runs left. */
import sharp from 'sharp';
import { openPicture } from '../formats/image.js';
import { pictureBoxes } from '../formats/image-grid.js';
import { escapeXml } from '../evaluation/html.js';
import { COLORS, FONT_FAMILY } from '../evaluation/plot-style.js';
import { textWidth } from '../evaluation/plot-labels.js';

/** A run's sheet of evaluation pictures: `images` of each of `prompts`, in `columns`. */
export interface Sheet {
  readonly path: string;
  readonly prompts: readonly string[];
  readonly images: number;
  readonly columns: number;
}

/** Pictures of a sheet as PNG files. @param wanted prompt and image number of each */
export async function cutPictures(
  { path, prompts, images, columns }: Sheet, wanted: readonly (readonly [prompt: number, image: number])[],
): Promise<Buffer[]> {
  const sheet = await openPicture(path);
  const { width, height } = await sheet.metadata();
  const boxes = pictureBoxes({ width, height }, prompts.length * images, columns);
  const cut = (i: number): Promise<Buffer> => sheet.clone().extract(boxes[i]!).png().toBuffer();
  return Promise.all(wanted.map(([prompt, image]) => cut(prompt * images + image)));
}

export interface PictureRow {
  readonly label: string;
  /** PNG files, one for each column. */
  readonly pictures: readonly Buffer[];
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
  const placed = await Promise.all(rows.flatMap(({ pictures }, r) => pictures.map(async (picture, c) => ({
    input: await sharp(picture).resize(SIDE, SIDE, { fit: 'contain', background: '#fff' }).toBuffer(),
    left: left + c * (SIDE + GAP), top: top + r * (SIDE + GAP),
  }))));
  return sharp(Buffer.from(svg)).composite(placed).png({ palette: true, quality: 95, effort: 8 }).toBuffer();
}
