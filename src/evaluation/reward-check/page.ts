/** @file What a reward's examination found, as one self-contained page. */
import { encodePng } from '../../formats/image.js';
import { host } from '../../graph/dtype.js';
import type { HostTensor } from '../../graph/dtype.js';
import { dataUri, EMPTY, Html, html, page, table } from '../html.js';
import { plot } from '../plot.js';
import type { PlotOptions, Series } from '../plot.js';
import { numberText } from '../ticks.js';
import type { Hacked, RewardCheck } from './check.js';

const signed = (x: number, digits = 2): string => `${x < 0 ? '−' : '+'}${Math.abs(x).toFixed(digits)}`;
const percent = (x: number): string => `${(100 * x).toPrecision(2).replace(/e.*/, '')}%`;
const chart = (series: readonly Series[], options: PlotOptions): Html => new Html(plot(series, { width: 400, height: 270, ...options }));
const tile = (name: string, value: string, note: string): Html => html`<div class="tile"><span>${name}</span><b>${value}</b><span>${note}</span></div>`;
const picture = async (image: HostTensor, alt: string): Promise<Html> => html`<img src="${dataUri(await encodePng(image))}" alt="${alt}">`;

/** Errors of a slope below this are those of float32 and of finite steps. */
const GOOD_SLOPE = 0.02;
/** Gained by a change that is hardly to be seen, in deviations between pictures: as much as the best of a hundred has over the mean. */
const EASILY = 2.5;

/** By how many deviations a climb raised the mean score. */
const gained = (check: RewardCheck, { scores }: Hacked): number => (Math.max(...scores) - scores[0]!) / check.deviation;
const levelsOf = ({ reach }: Hacked): number => Math.round(255 * reach);

/** What it comes to, in sentences that the terminal has too. */
export function findings(check: RewardCheck): string[] {
  const { gradient, deviation, disturbed, otherPrompt, hacked } = check;
  if (deviation === 0) return [`All ${check.scores.length} pictures have the score ${numberText(check.mean)}: there is nothing to learn from it here.`];
  const worst = disturbed.toSorted((a, b) => Math.abs(b.change.mean) - Math.abs(a.change.mean))[0]!;
  const least = hacked[0];
  return [
    ...(gradient === null ? ['It is a black box: no gradient to check or to follow.']
      : [gradient.error <= GOOD_SLOPE ? `Its gradient tells the slope within ${percent(gradient.error)}.`
        : `Its gradient is off: ${percent(gradient.error)} of the slope that finite differences find. It rounds, clips or is piecewise, or its gradient is wrong.`]),
    ...(otherPrompt === null ? [] : [otherPrompt.size < 0.01 * deviation ? 'It does not look at the prompt.'
      : `Another picture's prompt changes the score by ${signed(otherPrompt.mean / deviation)} deviations in the mean, ${(otherPrompt.size / deviation).toFixed(2)} either way.`]),
    `It minds ${worst.name} most: ${signed(worst.change.mean / deviation)} deviations.`,
    ...(least ? [gained(check, least) > EASILY
      ? `It is easily hacked: changes by ${levelsOf(least)} levels of 255, hardly to be seen, raise it by ${signed(gained(check, least), 1)} deviations. Train on it with the guard on, and beside a judge.`
      : `Changes by ${levelsOf(least)} levels of 255 raise it by ${signed(gained(check, least), 1)} deviations.`] : []),
  ];
}

function tiles(check: RewardCheck): Html {
  const { gradient, hacked, disturbed, deviation } = check;
  const last = hacked.at(-1);
  const worst = disturbed.toSorted((a, b) => Math.abs(b.change.mean) - Math.abs(a.change.mean))[0]!;
  const inUnits = (x: number): string => (deviation === 0 ? '–' : signed(x / deviation));
  return html`<div class="tiles">${tile('Score', numberText(check.mean), `± ${numberText(deviation)} between ${check.scores.length} pictures`)}
${gradient === null ? tile('Gradient', 'none', 'a black box') : tile('Gradient', gradient.error <= GOOD_SLOPE ? 'right' : 'off', `within ${percent(gradient.error)} of the slope`)}
${last && deviation > 0 ? tile('Hacked by', signed(gained(check, last), 1), `deviations, with ${levelsOf(last)} levels of 255`) : EMPTY}
${tile('Minds most', worst.name, `${inUnits(worst.change.mean)} deviations`)}</div>`;
}

function spreadSection(check: RewardCheck): Html {
  const sorted = check.scores.toSorted((a, b) => a - b);
  const points = sorted.map((y, i) => ({ x: (100 * (i + 0.5)) / sorted.length, y }));
  const share = check.betweenPrompts === null ? '' : ` ${percent(check.betweenPrompts)} of their variance is between prompts, the rest among the pictures of one.`;
  return html`<h2>Scale and spread</h2><p class="muted">From ${numberText(sorted[0]!)} to ${numberText(sorted.at(-1)!)}.${share}
To weigh it like another reward, divide by the deviation: <code>${check.name}:${numberText(1 / (check.deviation || 1))}</code>.</p>
<div class="plots single">${chart([{ name: 'pictures', points, marks: 'both' }], { title: 'Scores, sorted', x: 'percent of the pictures', y: check.name })}</div>`;
}

async function disturbedSection({ disturbed, deviation, pictures, scores }: RewardCheck): Promise<Html> {
  const unit = deviation || 1;
  const error = (e: number | null): string => (e === null ? '' : ` ± ${(e / unit).toFixed(2)}`);
  const rows = disturbed.map((d) => [`${d.name}, ${d.what}`, `${signed(d.change.mean / unit)}${error(d.change.error)}`, Number.isNaN(d.rank) ? '–' : d.rank.toFixed(2)]);
  const cards = await Promise.all([{ name: 'as it is', example: pictures[0]!.image, score: scores[0]! }, ...disturbed].map(async ({ name, example, score }) =>
    html`<figure class="card"><div class="pair one">${await picture(example, name)}</div><figcaption>${name} <span class="muted">· ${numberText(score)}</span></figcaption></figure>`));
  return html`<h2>What it minds</h2><p class="muted">The same pictures, disturbed: the change of the score in deviations between pictures, and
whether their order stays (1: the same).</p>${table(['', 'change, deviations', 'order'], rows)}<div class="gallery">${cards}</div>`;
}

function slopeSection({ gradient, pictures }: RewardCheck): Html {
  if (gradient === null) return html`<h2>Gradient</h2><p class="note">This reward is a black box: it has no gradient, so there is nothing to check by finite
differences and nothing to climb. Methods and searches that need no gradient can use it.</p>`;
  const rows = gradient.slopes.map(({ image, along, told, found }) =>
    [`${pictures[gradient.shown[image]!]!.label}, ${along}`, numberText(told), numberText(found)]);
  return html`<h2>Does its gradient tell the slope?</h2><p class="muted">Reward for a change of the pixels by a root mean square of 1, as the gradient
tells it and as central differences find it. The largest error is ${percent(gradient.error)} of the largest slope.</p>
${table(['', 'gradient', 'differences'], rows)}`;
}

/** Tenfold, around grey. */
const difference = (before: HostTensor, after: HostTensor): HostTensor =>
  host(Float32Array.from(after.data as Float32Array, (v, i) => 0.5 + 10 * (v - (before.data[i] as number))), before.shape);

async function hackedSection(check: RewardCheck): Promise<Html> {
  const { hacked, gradient, pictures, deviation, mean } = check;
  const most = hacked.at(-1);
  if (!most || gradient === null) return EMPTY;
  const series = hacked.map((h): Series => ({ name: `± ${levelsOf(h)} levels`, marks: 'both', points: h.scores.map((y, x) => ({ x, y })) }));
  const rows = hacked.map((h) => [`± ${levelsOf(h)} levels`, numberText(h.scores[0]!), numberText(Math.max(...h.scores)),
    deviation > 0 ? signed(gained(check, h)) : '–', deviation > 0 ? signed((h.byChance - h.scores[0]!) / deviation) : '–']);
  const cards = await Promise.all(most.before.map(async (before, i) => html`<figure class="card"><div class="pair three">
<div>${await picture(before, 'before')}<span>before</span></div><div>${await picture(most.after[i]!, 'after')}<span>after</span></div>
<div>${await picture(difference(before, most.after[i]!), 'difference')}<span>× 10</span></div></div>
<figcaption>${pictures[gradient.shown[i]!]!.label}</figcaption></figure>`));
  return html`<h2>How easily it is hacked</h2><p class="muted">Pixels follow the sign of the gradient, ${most.scores.length - 1} steps, no value farther than so many
levels of 255 from its own. What is gained so has nothing to do with what the pictures show.</p>
${table(['', 'before', 'after', 'gained, deviations', 'by chance'], rows)}
<div class="plots single">${chart(series, { title: 'Score while it is followed', x: 'steps', y: check.name, levels: [{ y: mean + deviation, label: 'a deviation above the mean' }] })}</div>
<div class="gallery">${cards}</div>`;
}

/** Shown of the best and of the worst. */
const SHOWN = 8;

async function rankedSection({ pictures, scores }: RewardCheck): Promise<Html> {
  const order = scores.map((_, i) => i).toSorted((a, b) => scores[b]! - scores[a]!);
  const count = Math.min(SHOWN, Math.floor(order.length / 2));
  if (count === 0) return EMPTY;
  const cards = (which: readonly number[]): Promise<Html[]> => Promise.all(which.map(async (i) => {
    const { label, prompt, image } = pictures[i]!;
    return html`<figure class="card"><div class="pair one">${await picture(image, label)}</div>
<figcaption><b>${numberText(scores[i]!)}</b> ${prompt}<br><span class="muted">${label}</span></figcaption></figure>`;
  }));
  return html`<h2>Best</h2><div class="gallery">${await cards(order.slice(0, count))}</div>
<h2>Worst</h2><div class="gallery">${await cards(order.slice(-count).toReversed())}</div>`;
}

/** @param source what the pictures are, in a sentence @param facts versions and the like, as name and value */
export async function renderRewardCheck(check: RewardCheck, source: string, facts: readonly (readonly [string, string])[]): Promise<string> {
  const list = facts.map(([name, value]) => html`<tr><th scope="row">${name}</th><td><code>${value}</code></td></tr>`);
  const body = html`<header><h1>The reward ${check.name}</h1><p class="lead">${findings(check).join(' ')}</p>
<p class="muted">${check.description}</p><p class="muted">${source}</p></header>
${tiles(check)}${spreadSection(check)}${await rankedSection(check)}${await disturbedSection(check)}${slopeSection(check)}${await hackedSection(check)}
<h2>Particulars</h2><table class="plain">${list}</table>
<footer>Written by Attune. This page is complete in itself and loads nothing.</footer>`;
  return page(`The reward ${check.name}`, body);
}
