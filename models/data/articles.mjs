/** @file The indefinite article of an emoji name: "red apple" -> "a red apple", "grapes" -> "grapes". */

/** Words after which the head noun of a name has ended ("glass of milk", "man in tuxedo"). */
const HEAD_ENDS = /\s(?:with|without|of|in|on|over|behind|for|from|at|holding|showing|above|under)\s/;

/** A person doing something: the last word may be the plural of what they do it with. */
const ONE_PERSON = /^(?:person|man|woman)\s/;

/** Plural heads without a final s. */
const PLURAL = /^(?:people|men|women|palms)\s/;

/** Singular head nouns that end like plurals, beyond those in -ss and -us. */
const SINGULAR_S = new Set(['rhinoceros', 'fleur-de-lis']);

/** Mass nouns, activities, adjectives, verbs and proper names: they stand without an article. */
const BARE = new Set(`
rolling on the floor laughing; star-struck; dizzy; zzz; thumbs up; thumbs down; breast-feeding; santa claus
mrs. claus; mx claus; horse racing; coral; leafy green; broccoli; garlic; ginger root; bread; flatbread
baguette bread; stuffed flatbread; meat on bone; bacon; cooking; popcorn; butter; salt; canned food; falafel; fondue
cooked rice; curry rice; spaghetti; oden; sushi; dango; soft ice cream; shaved ice; ice cream; candy; sake
pouring liquid; mate; ice; mount fuji; camping; building construction; wood; tokyo tower; statue of liberty; foggy
night with stars; sunrise over mountains; construction; airplane departure; airplane arrival; milky way; fog
high voltage; fire; tennis; bowling; field hockey; ice hockey; lacrosse; ping pong; badminton; yarn; thread; dna
money with wings; soap; locked; unlocked; locked with pen; locked with key; potable water; non-potable water
passport control; customs; baggage claim; left luggage; luggage; warning; children crossing; no entry; prohibited
no smoking; no littering; no one under eighteen; radioactive; biohazard; om; yin yang; cinema; wireless
vibration mode; mobile phone off; multiply; plus; minus; divide; infinity; currency exchange; copyright; registered
information; performing arts; dashing away; index pointing at the viewer; index pointing up
backhand index pointing left; backhand index pointing right; backhand index pointing up
backhand index pointing down; e-mail; nail polish; input latin uppercase; input latin lowercase; kaaba
`.split(/[;\n]/).map((name) => name.trim()).filter(Boolean));

/** Sounds, not letters, decide between "a" and "an". */
const AN = /^(?:[aei]|o(?!ne\b|ne-)|u(?!nic)|hour|x-ray|sos\b|ng\b)/;
const A_DESPITE_VOWEL = /^(?:euro|ewe\b)/;

function takesArticle(name) {
  if (BARE.has(name) || name.includes(':') || /o'clock$|^[a-z]+-thirty$/.test(name) || PLURAL.test(name)) return false;
  if (ONE_PERSON.test(name)) return !name.includes(' and ');
  const head = name.split(HEAD_ENDS)[0].split(' ').at(-1);
  return !head.endsWith('s') || /(?:ss|us)$/.test(head) || SINGULAR_S.has(head);
}

/** @returns {string} the name with its article, or the plain name where an article would be wrong */
export function withArticle(name, subgroup) {
  if (subgroup === 'zodiac' || !takesArticle(name)) return name;
  return `${AN.test(name) && !A_DESPITE_VOWEL.test(name) ? 'an' : 'a'} ${name}`;
}
