/** @file Pictures side by side: the base model's and the tuned one's from the same seed, at any LoRA strength. */
import { dataUri, EMPTY, Html, html } from './html.js';
import type { PageScript } from './html.js';
import type { Evaluation } from './evaluation.js';
import { numberText } from './ticks.js';

/** One prompt and seed. */
export interface Pair {
  readonly prompt: string;
  readonly seed: number;
  /** Picture files (PNG, JPEG or WebP). */
  readonly base: Uint8Array;
  readonly tuned: Uint8Array;
  /** What the rewards of both are. */
  readonly rewards?: readonly [base: number, tuned: number] | undefined;
  /** How far the tuned one is from the base model's. */
  readonly drift?: number | undefined;
}

/** One LoRA strength: what it scores, and its pictures for the same prompts and seeds as the pairs. */
export interface Strength extends Omit<Evaluation, 'step'> {
  readonly strength: number;
  /** One for each pair, in their order; or none. */
  readonly images: readonly Uint8Array[];
}

/** Shows the pictures of the strength that the slider stands at, and says what it scores. */
export const GALLERY_SCRIPT: PageScript = {
  sha256: 'lymsX3+40jVpBDfvH3c2+3A8kNnZiOfkq5IJE6Fn1IE=',
  text: `
const slider = document.getElementById('strength');
if (slider) {
  const said = slider.parentElement.querySelector('output');
  const show = () => {
    for (const stack of document.querySelectorAll('.stack'))
      [...stack.querySelectorAll('img')].forEach((img, i) => img.classList.toggle('on', i === Number(slider.value)));
    said.textContent = JSON.parse(slider.dataset.texts)[slider.value];
  };
  slider.addEventListener('input', show);
  show();
}
`,
};

const picture = (bytes: Uint8Array, alt: string, on = false): Html =>
  html`<img${new Html(on ? ' class="on"' : '')} src="${dataUri(bytes)}" alt="${alt}">`;

function scoreText({ strength, reward, diversity, heldOutReward }: Strength): string {
  const told = (name: string, x: number | undefined): string => (x === undefined ? '' : `, ${name} ${numberText(x)}`);
  return `× ${strength}: reward ${numberText(reward)}${told('held-out', heldOutReward)}${told('diversity', diversity)}`;
}

const pairText = ({ rewards, drift }: Pair): string =>
  `${rewards ? ` · reward ${numberText(rewards[0])} → ${numberText(rewards[1])}` : ''}${drift === undefined ? '' : ` · drift ${numberText(drift, 2)}`}`;

/** Cards of pairs; a slider over the strengths where they come with pictures of all pairs. */
export function gallery(pairs: readonly Pair[], sweep: readonly Strength[]): Html {
  const steps = sweep.filter((s) => s.images.length === pairs.length && pairs.length > 0)
    .toSorted((a, b) => a.strength - b.strength);
  const full = Math.max(0, steps.findIndex((s) => s.strength === 1));
  const control = steps.length < 2 ? EMPTY : html`<div class="strength"><label for="strength">LoRA strength</label>
<input type="range" id="strength" min="0" max="${steps.length - 1}" value="${full}"
 data-texts="${JSON.stringify(steps.map(scoreText))}">
<output>${scoreText(steps[full]!)}</output></div>`;
  const cards = pairs.map((pair, i) => {
    const tuned = steps.length < 2 ? [picture(pair.tuned, `tuned: ${pair.prompt}`, true)]
      : steps.map((s, k) => picture(s.images[i]!, `strength ${s.strength}: ${pair.prompt}`, k === full));
    return html`<figure class="card"><div class="pair">
<div>${picture(pair.base, `base: ${pair.prompt}`)}<span>base</span></div>
<div><div class="stack">${tuned}</div><span>tuned</span></div></div>
<figcaption>${pair.prompt} <span class="muted">· seed ${pair.seed}${pairText(pair)}</span></figcaption></figure>`;
  });
  return html`${control}<div class="gallery">${cards}</div>`;
}
