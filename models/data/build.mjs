/**
 * @file Builds the training set of the bundled model: `node build.mjs [folder]` writes `images/<style>/<id>.png`
 * (64x64 RGB) and `metadata.jsonl`, a line per picture with its captions and their probabilities.
 */

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { captionsOf } from './captions.mjs';
import { readConcepts } from './concepts.mjs';
import { renderPicture } from './picture.mjs';

const folder = process.argv[2] ?? fileURLToPath(new URL('out', import.meta.url));
const concepts = readConcepts();
const lines = [];
for (const style of Object.keys(concepts[0].files)) {
  await mkdir(join(folder, 'images', style), { recursive: true });
  for (const concept of concepts) {
    const { id, name, prompt, tags, group, subgroup, phrases } = concept;
    const file = `images/${style}/${id}.png`;
    await writeFile(join(folder, file), await renderPicture(concept.files[style]));
    const { captions, weights } = captionsOf(concept, style);
    lines.push(JSON.stringify({ file, captions, weights, name, prompt, style, group, subgroup, phrases, tags }));
  }
}
await writeFile(join(folder, 'metadata.jsonl'), `${lines.join('\n')}\n`);
process.stdout.write(`${concepts.length} concepts, ${lines.length} pictures in ${folder}\n`);
