/** @file Group phrases: what a short prompt may call a concept ("an animal", "food"), by Unicode subgroup. */

/** Narrow-to-broad phrases of each subgroup; none of them is the exact name of a concept (the build checks this). */
const BY_SUBGROUP = {
  'cat-face': ['a face', 'an animal'],
  'monkey-face': ['a face', 'an animal'],
  heart: ['a heart'],
  emotion: ['a symbol'],
  'hand-prop': ['a hand'],
  hands: ['a hand'],
  'body-parts': ['a body part'],
  person: ['a human'],
  'person-gesture': ['a human'],
  'person-role': ['a human', 'a worker'],
  'person-fantasy': ['a fantasy character'],
  'person-activity': ['a human'],
  'person-sport': ['a human', 'an athlete'],
  'person-resting': ['a human'],
  family: ['people'],
  'person-symbol': ['people'],
  'animal-mammal': ['an animal', 'a mammal'],
  'animal-reptile': ['an animal', 'a reptile'],
  'animal-marine': ['an animal', 'a sea animal'],
  'animal-bug': ['an animal', 'an insect'],
  'plant-flower': ['a plant', 'a flower'],
  'plant-other': ['a plant'],
  'food-fruit': ['food', 'a fruit'],
  'food-vegetable': ['food', 'a vegetable'],
  'food-prepared': ['food'],
  'food-asian': ['food', 'asian food'],
  'food-sweet': ['food', 'a dessert'],
  drink: ['a drink'],
  dishware: ['a kitchen item'],
  'place-building': ['a place', 'a building'],
  'place-religious': ['a place', 'a building'],
  'transport-ground': ['a vehicle'],
  'transport-water': ['a vehicle', 'a boat'],
  'transport-air': ['a vehicle', 'an aircraft'],
  hotel: ['an object'],
  time: ['a clock'],
  'sky-weather': ['weather'],
  event: ['a celebration'],
  'award-medal': ['an award'],
  sport: ['a sport'],
  game: ['a game'],
  'arts-crafts': ['an art supply'],
  clothing: ['clothing'],
  music: ['music'],
  'musical-instrument': ['music', 'a musical instrument'],
  computer: ['an electronic device'],
  phone: ['an electronic device'],
  'light-video': ['an object', 'a light or camera'],
  'book-paper': ['an object', 'a book or paper'],
  money: ['an object', 'money'],
  mail: ['an object', 'mail'],
  writing: ['an object', 'a writing tool'],
  office: ['an object', 'an office supply'],
  lock: ['an object', 'a lock'],
  tool: ['an object', 'a tool'],
  science: ['an object', 'a lab instrument'],
  medical: ['an object', 'a medical item'],
  household: ['an object', 'a household item'],
  'transport-sign': ['a symbol', 'a sign'],
  warning: ['a symbol', 'a sign'],
  arrow: ['a symbol', 'an arrow'],
  religion: ['a symbol', 'a religious symbol'],
  zodiac: ['a symbol', 'a zodiac sign'],
  'av-symbol': ['a symbol', 'a button'],
  keycap: ['a symbol', 'a button'],
  alphanum: ['a symbol', 'a button'],
  geometric: ['a shape'],
  flag: ['a flag'],
};

/** Phrases where every subgroup of a prefix shares one. */
const BY_PREFIX = [
  ['face-', ['a face']],
  ['hand-', ['a hand']],
  ['animal-', ['an animal']],
  ['place-', ['a place']],
];

const BY_GROUP = { objects: ['an object'], symbols: ['a symbol'] };

/** Concepts that Unicode files under a transport subgroup, or under "time", without being a vehicle or a clock. */
const EXCEPTIONS = {
  'a street sign': ['bus stop', 'stop sign', 'horizontal traffic light', 'vertical traffic light', 'construction'],
  'a place': ['station', 'motorway', 'railway track'],
  'an object': ['oil drum', 'fuel pump', 'wheel', 'police car light', 'anchor', 'ring buoy', 'seat', 'parachute',
    'satellite', 'hourglass done', 'hourglass not done'],
};
const EXCEPTION_OF = new Map(
  Object.entries(EXCEPTIONS).flatMap(([phrase, names]) => names.map((name) => [name, phrase])),
);

/** The phrases that may stand for a concept. @returns {string[]} */
export function groupPhrases(name, group, subgroup) {
  const exception = EXCEPTION_OF.get(name);
  if (exception) return [exception];
  const phrases = BY_SUBGROUP[subgroup]
    ?? BY_PREFIX.find(([prefix]) => subgroup.startsWith(prefix))?.[1]
    ?? BY_GROUP[group];
  if (!phrases) throw new Error(`groups.mjs has no phrase for "${group}/${subgroup}" (concept "${name}")`);
  return phrases;
}
