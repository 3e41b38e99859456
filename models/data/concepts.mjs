/** @file The concepts of the data set: emojis that exist in both styles, with their names, tags, groups and files. */

import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { withArticle } from './articles.mjs';
import { groupPhrases } from './groups.mjs';

const PACKAGES = fileURLToPath(new URL('node_modules/', import.meta.url));

/** The style words of the captions and the folders of their pictures. */
const STYLES = {
  flat: join(PACKAGES, 'emoji-datasource-google/img/google/64'),
  '3d': join(PACKAGES, '@lobehub/fluent-emoji-3d/assets'),
};

/** Country flags differ in nothing but their heraldry: 245 concepts that would teach the model little else. */
const LEFT_OUT = new Set(['country-flag', 'subdivision-flag']);

/** Chat slang and the like: tags that no picture shows. */
const SLANG = new Set(('adorbs awesome bae bff bro dating dunno fleek homie idk ily jew lol omg omw sexy smh tbt '
  + 'whatever xoxo yolo').split(' '));

/** Tags kept per concept, the most widely shared first. */
const MAX_TAGS = 6;

const readJson = (path) => JSON.parse(readFileSync(join(PACKAGES, path), 'utf8'));

/** Lower case, ASCII, no quotation marks: "Japanese “here” button" -> "japanese here button". */
function plainText(text) {
  const ascii = text.normalize('NFKD').replace(/\p{M}/gu, '').replace(/[“”]/g, '').replace(/’/g, '\'');
  return ascii.toLowerCase().trim();
}

/** The emojibase label as one would say it: "man: red hair" -> "man with red hair", "woman: bald" -> "bald woman". */
function nameOf(label, subgroup) {
  const name = plainText(label);
  const [who, what] = name.split(': ');
  if (subgroup !== 'person' || what === undefined) return name;
  return what === 'bald' ? `bald ${who}` : `${who} with ${what}`;
}

/** Code points without the variation selector FE0F, which the sources do not write consistently. */
function codePoints(text) {
  return text.toLowerCase().split('-').filter((point) => point !== 'fe0f').join('-');
}

function filesByCodePoints(folder) {
  const files = readdirSync(folder).filter((file) => /\.(?:png|webp)$/.test(file)).toSorted();
  return new Map(files.map((file) => [codePoints(basename(file).replace(/\.\w+$/, '')), join(folder, file)]));
}

/**
 * @typedef {object} Concept
 * @property {string} id code points, e.g. "1f34e"
 * @property {string} name e.g. "red apple"
 * @property {string} prompt the name with its article, "a red apple"
 * @property {string[]} tags words that the concept shares with others
 * @property {string} group Unicode group, "food-drink"
 * @property {string} subgroup Unicode subgroup, "food-fruit"
 * @property {string[]} phrases group phrases, ["food", "a fruit"]
 * @property {Record<string, string>} files source picture of each style
 */

/** @returns {Concept[]} in Unicode order */
export function readConcepts() {
  const { groups, subgroups } = readJson('emojibase-data/meta/groups.json');
  const files = Object.entries(STYLES).map(([style, folder]) => [style, filesByCodePoints(folder)]);
  const concepts = readJson('emojibase-data/en/data.json')
    .filter((emoji) => emoji.group !== undefined && !LEFT_OUT.has(subgroups[emoji.subgroup]))
    .toSorted((a, b) => a.order - b.order)
    .map((emoji) => {
      const id = codePoints(emoji.hexcode);
      const [group, subgroup] = [groups[emoji.group], subgroups[emoji.subgroup]];
      const name = nameOf(emoji.label, subgroup);
      return {
        id,
        name,
        prompt: withArticle(name, subgroup),
        tags: [...new Set((emoji.tags ?? []).map(plainText))],
        group,
        subgroup,
        files: Object.fromEntries(files.map(([style, byId]) => [style, byId.get(id)])),
      };
    })
    .filter(({ files: pictures }) => Object.values(pictures).every((file) => file !== undefined))
    .map((concept) => ({ ...concept, phrases: groupPhrases(concept.name, concept.group, concept.subgroup) }));
  keepSharedTags(concepts);
  assertUnambiguous(concepts);
  return concepts;
}

/** Drops tags that say nothing a picture could show more than once, and those that name another concept. */
function keepSharedTags(concepts) {
  const names = new Set(concepts.map(({ name }) => name));
  const uses = new Map();
  for (const tag of concepts.flatMap(({ tags }) => tags)) uses.set(tag, (uses.get(tag) ?? 0) + 1);
  for (const concept of concepts) {
    concept.tags = concept.tags
      .filter((tag) => uses.get(tag) > 1 && !names.has(tag) && !SLANG.has(tag) && /^[a-z][a-z' -]{2,}$/.test(tag))
      .toSorted((a, b) => uses.get(b) - uses.get(a) || (a < b ? -1 : 1))
      .slice(0, MAX_TAGS);
  }
}

function assertUnambiguous(concepts) {
  const prompts = new Set(concepts.map(({ prompt }) => prompt));
  if (prompts.size !== concepts.length) throw new Error('two concepts share one name');
  for (const phrase of new Set(concepts.flatMap(({ phrases }) => phrases))) {
    if (prompts.has(phrase)) throw new Error(`group phrase "${phrase}" is also the exact name of a concept`);
  }
}
