/** @file Writes the prompt lists of the bundled model, `../emoji/prompts/*.txt`, from the concepts of the data set. */

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { readConcepts } from './concepts.mjs';

const folder = fileURLToPath(new URL('../emoji/prompts', import.meta.url));

/** The 45 animals that reward tuning is usually trained on: ddpo_pytorch/assets/simple_animals.txt (MIT). */
const SIMPLE_ANIMALS = ('cat dog horse monkey rabbit zebra spider bird sheep deer cow goat lion tiger bear raccoon fox '
  + 'wolf lizard beetle ant butterfly fish shark whale dolphin squirrel mouse rat snake turtle frog chicken duck goose '
  + 'bee pig turkey fly llama camel bat gorilla hedgehog kangaroo').split(' ');
/** Those that emoji call otherwise. */
const EMOJI_NAME = { sheep: 'ewe', squirrel: 'chipmunk', bee: 'honeybee' };

/** Roles that people play, without the variants of sex: what the young model draws as something that one recognises. */
const PEOPLE = ('cook, police officer, farmer, judge, detective, princess, astronaut, firefighter, health worker, student, '
  + 'teacher, mechanic, factory worker, office worker, scientist, technologist, singer, artist, pilot, guard, ninja, '
  + 'construction worker, person with crown, prince, person wearing turban, person in tuxedo, person with veil, '
  + 'baby angel, superhero, supervillain, mage, fairy, vampire, mermaid, elf, genie, zombie').split(', ');

/** A group prompt must have this many right answers for the diversity of its samples to mean something. */
const MIN_GROUP = 10;
const HELD_OUT_PER_GROUP = 8;

const concepts = readConcepts();
const byName = new Map(concepts.map((concept) => [concept.name, concept]));

const animals = SIMPLE_ANIMALS.map((animal) => {
  const concept = byName.get(EMOJI_NAME[animal] ?? animal);
  if (!concept) throw new Error(`no emoji is named "${animal}"; add its name to EMOJI_NAME`);
  return concept;
});

const people = PEOPLE.map((name) => {
  const concept = byName.get(name);
  if (!concept) throw new Error(`no emoji is named "${name}"`);
  return concept;
});

const groupSizes = new Map();
for (const phrase of concepts.flatMap(({ phrases }) => phrases)) {
  groupSizes.set(phrase, (groupSizes.get(phrase) ?? 0) + 1);
}
const groups = [...groupSizes].filter(([, size]) => size >= MIN_GROUP).map(([phrase]) => phrase);

/** Evenly spaced concepts of every Unicode group but flags, of which there are only eight. */
const heldOutGroups = [...new Set(concepts.map(({ group }) => group))].filter((group) => group !== 'flags');
const heldOut = heldOutGroups.flatMap((group) => {
  const candidates = concepts.filter((concept) => concept.group === group && !animals.includes(concept) && !people.includes(concept));
  const spacing = candidates.length / HELD_OUT_PER_GROUP;
  return Array.from({ length: HELD_OUT_PER_GROUP }, (_, i) => candidates[Math.floor((i + 0.5) * spacing)]);
});

const promptsOf = (list) => list.map(({ prompt }) => prompt);
const lists = {
  animals: ['The 45 simple animals of the literature (ddpo-pytorch, MIT) under their emoji names.', promptsOf(animals)],
  people: ['Roles that people play: the prompts of the main job.', promptsOf(people)],
  groups: [`Group phrases of at least ${MIN_GROUP} concepts each: many right answers, to measure diversity.`, groups],
  names: ['Every concept that the model was trained on, in Unicode order.', promptsOf(concepts)],
  heldout: [`${HELD_OUT_PER_GROUP} concepts of each group but flags, none in animals.txt or people.txt: for evaluation only.`,
    promptsOf(heldOut)],
};
await mkdir(folder, { recursive: true });
for (const [name, [about, prompts]] of Object.entries(lists)) {
  const head = [`# ${about}`, '# Names from emojibase-data 17.0.0 (MIT). Written by models/data/build-prompts.mjs.'];
  await writeFile(join(folder, `${name}.txt`), [...head, ...prompts, ''].join('\n'));
  process.stdout.write(`${name}.txt: ${prompts.length} prompts\n`);
}
