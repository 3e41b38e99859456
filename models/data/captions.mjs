/** @file The captions of one image and how often each is drawn: exact name, tags, group phrases, with a style word. */

/** Probability of each kind of caption. The `…Styled` kinds end in ", flat" or ", 3d". */
const MIX = {
  nameStyled: 0.5, // "a red apple, 3d"
  nameBareStyled: 0.05, // "red apple, 3d": people leave the article out
  name: 0.1, // "a red apple"
  nameBare: 0.05, // "red apple"
  tagStyled: 0.06, // "vitamin, 3d"
  tag: 0.04,
  groupStyled: 0.12, // "a fruit, 3d", "food, 3d"
  group: 0.08,
};

/**
 * @param {{name: string, prompt: string, tags: string[], phrases: string[]}} concept `prompt` is the name with article
 * @param {string} style the style word
 * @returns {{captions: string[], weights: number[]}} distinct captions and their probabilities, which sum to 1
 */
export function captionsOf({ name, prompt, tags, phrases }, style) {
  const weightOf = new Map();
  const add = (texts, weight) => {
    for (const text of texts) weightOf.set(text, (weightOf.get(text) ?? 0) + weight / texts.length);
  };
  const styled = (texts) => texts.map((text) => `${text}, ${style}`);
  const shortTexts = tags.length > 0 ? tags : phrases;
  add(styled([prompt]), MIX.nameStyled);
  add(styled([name]), MIX.nameBareStyled);
  add([prompt], MIX.name);
  add([name], MIX.nameBare);
  add(styled(shortTexts), MIX.tagStyled);
  add(shortTexts, MIX.tag);
  add(styled(phrases), MIX.groupStyled);
  add(phrases, MIX.group);
  return {
    captions: [...weightOf.keys()],
    weights: [...weightOf.values()].map((weight) => Number(weight.toFixed(4))),
  };
}
