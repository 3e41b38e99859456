import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { GUARD_DEFAULTS, guardVerdict } from '../../src/evaluation/hacking-guard.js';
import { GALLERY_SCRIPT } from '../../src/evaluation/gallery.js';
import { dataUri, html, page } from '../../src/evaluation/html.js';
import { escapeXml } from '../../src/formats/xml.js';
import { renderReport } from '../../src/evaluation/report.js';
import type { RunReport } from '../../src/evaluation/report.js';
import { encodePng } from '../../src/formats/image.js';
import { host } from '../../src/graph/dtype.js';

const png = await encodePng(host(new Float32Array(3 * 4).fill(0.5), [3, 2, 2]));
const hostile = '"><script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)>';

function run(changes: Partial<RunReport> = {}): RunReport {
  const evaluations = [0, 10, 20].map((step, i) => ({
    step, reward: 0.2 + 0.1 * i, heldOutReward: 0.3 + 0.02 * i, heldOutError: 0.01,
    diversity: 0.5 - 0.05 * i, frechet: 0.1 * i, kid: 0.01 * i, drift: 0.2 * i, winRate: 0.5 + 0.2 * i, winRateLow: 0.4 + 0.2 * i, winRateHigh: 0.55 + 0.2 * i,
  }));
  return {
    title: 'draft on emoji-clip',
    rewardName: 'emoji-clip',
    heldOutName: 'emoji-judge',
    rewardDeviation: 0.05,
    steps: Array.from({ length: 1000 }, (_, i) => ({ step: i + 1, reward: 0.2 + i / 5000, loss: -i, gradNorm: 1 })),
    evaluations,
    guard: GUARD_DEFAULTS,
    guardNote: { active: 'guarded', missing: null },
    selectedOn: { list: 'people', prompts: 8, images: 32, seed: 0, untrained: false },
    reported: [],
    exported: [{ path: 'lora', step: 20, why: 'The highest reward.', changes: true }],
    verdict: guardVerdict(evaluations),
    fewImages: 'The Fréchet distance needs thousands of images.',
    pairs: [{ prompt: 'a cat', seed: 1, base: png, tuned: png, rewards: [0.2, 0.4], drift: 0.31 }],
    remake: { command: 'attune sample --guidance 3', tuned: '--lora x.safetensors' },
    sweep: [0, 0.5, 1, 1.5].map((strength) =>
      ({ strength, reward: strength, diversity: 0.5, heldOutReward: 0.3, images: [png] })),
    facts: [['seed', '1']],
    config: { method: { name: 'draft', k: 'all' }, prompts: ['a', 'b'], empty: {} },
    files: [['lora/x.safetensors', 'the LoRA']],
    ...changes,
  };
}

describe('html', () => {
  test('escapes strings and keeps markup', () => {
    const inner = html`<b title="${'a"b'}">${'<i>'}</b>`;
    expect(html`${[inner, inner]}${1}`.markup).toBe('<b title="a&quot;b">&lt;i&gt;</b>'.repeat(2) + '1');
    expect(escapeXml('a\u0000b\u001bc\nd\'')).toBe('a b c\nd&#39;');
  });
  test('a page may run its own script and nothing else', () => {
    for (const [made, script] of [[page('t', html`<p>x</p>`), ''], [page('t', html`<p>x</p>`, GALLERY_SCRIPT), GALLERY_SCRIPT.text]] as const) {
      const hash = createHash('sha256').update(script).digest('base64');
      expect(made).toContain(`script-src &#39;sha256-${hash}&#39;`);
      expect(made).toContain(`<script>${script}</script>`);
    }
    const text = page('t', html`<p>x</p>`);
    expect(text).toContain('default-src &#39;none&#39;');
  });
  test('pictures are told by their bytes', () => {
    expect(dataUri(png)).toMatch(/^data:image\/png;base64,iVBOR/);
    expect(() => dataUri(Buffer.from('<svg/>'))).toThrow('PNG, JPEG and WebP');
  });
});

// Not toContain: a failure would print the whole page.
const says = (text: string, part: string): void =>
  expect(text.replaceAll('\n', ' ').includes(part.replaceAll('\n', ' ')), part).toBe(true);
const hides = (text: string, part: string): void => expect(text.includes(part), part).toBe(false);

describe('report', () => {
  test('says in words and figures what came out', () => {
    const text = renderReport(run());
    says(text, 'At step 20, the best, the reward is 0.400 against 0.200 before (+4.00 standard deviations');
    says(text, 'went from 0.300 to 0.340');
    says(text, '80% as diverse');
    expect(text.match(/<svg /g)).toHaveLength(13);
    says(text, '<tr class="best"><th scope="row">step 20, best</th>\n'
      + '<td>0.400</td><td>90%</td><td>0.340</td><td>0.400</td><td>80%</td><td>0.400</td><td>0.200</td><td>0.0200</td></tr>');
    says(text, '<span>Win rate</span><b>90%</b><span>80% to 95%, images with more than the base model&#39;s');
    says(text, '<span>Drift</span><b>0.400</b><span>an image from the base model&#39;s; two of its own of one prompt are 0.500 apart');
    says(text, 'needs thousands of images');
    says(text, 'seed 1 · reward 0.200 → 0.400 · drift 0.31');
    says(text, '<code>--lora x.safetensors</code> for the tuned one, to <code>attune sample --guidance 3</code>');
    says(text, 'method.k</th><td><code>all');
    says(text, 'prompts.1</th><td><code>b');
    says(text, '× 1.5: reward 1.50, held-out 0.300, diversity 0.500');
    hides(text, 'NaN');
    hides(text, 'undefined');
  });

  test('shows what the rewards of a weighted sum gave by themselves', () => {
    const evaluations = [0, 10].map((step) =>
      ({ step, reward: 1 + step, rewardParts: { red: 3 + step, blue: 0.25 }, diversity: 1, frechet: 0 }));
    const text = renderReport(run({ evaluations, verdict: guardVerdict(evaluations) }));
    says(text, '<th scope="row">base model</th>\n<td>1.00</td><td>3.00</td><td>0.250</td>');
    says(text, '<td>11.0</td><td>13.0</td><td>0.250</td>');
  });

  test('says so when nothing was gained, and why the guard stopped', () => {
    const stop = { rule: 'diversity', reason: 'all images are alike' } as const;
    const text = renderReport(run({ verdict: { best: 0, stop } }));
    says(text, 'No evaluation was better');
    says(text, 'The guard stopped the run:</b> all images are alike.');
  });

  test('tells first what was measured where nothing chose the checkpoint', () => {
    const on = { list: 'heldout', prompts: 16, images: 32, seed: 1_000_000, untrained: true };
    const [from, to] = [{ step: 0, reward: 1, heldOutReward: 0.7, heldOutError: 0.1, diversity: 0.6, frechet: 0 },
      { step: 20, reward: 1.5, heldOutReward: 0.8, heldOutError: 0.1, diversity: 0.3, frechet: 0.7 }];
    const text = renderReport(run({ reported: [{ on, base: from, tuned: to, gainInDeviations: 1.25, gainError: 0.2,
      changes: { gain: [1, 1.2, 1.3, 1.4, 1.35], heldOut: [0.1, 0.2, 0, 0.1, 0.1] } }] }));
    expect(text.replaceAll('\n', ' ')).toMatch(/the reward is 1\.50 against 1\.00 before \(\+1\.25 ± 0\.20 standard deviations of the base model&#39;s images; \+\d\.\d+ to \+\d\.\d+ with 95% confidence\)/);
    expect(text).toMatch(/95% interval over prompts<\/th>\n<td><\/td><td>[+−]\d\.\d+ to \+\d\.\d+<\/td>/);
    says(text, 'from 0.700 to 0.800. The images of one prompt are 50% as diverse');
    says(text, 'Reported on 16 prompts of heldout that are not trained on, 32 images, seeds from 1000000; selected on 8 prompts of people');
    says(text, '<td>1.50</td><td>0.800</td><td>0.300</td><td>0.700</td><td>+1.25 ± 0.20</td>');
    says(renderReport(run()), 'Selected and reported on the same images, which flatters it');
  });

  test('tells what was saved, why, and what of it has no effect', () => {
    const exported = [
      { path: 'lora', step: 0, why: 'Nothing was better.', changes: false }, { path: 'lora-last', step: 40, why: 'The last weights.', changes: true },
    ];
    const text = renderReport(run({ exported, guardNote: { active: 'no rule is active', missing: 'not measured: a judge' } }));
    says(text, '<code>lora/</code> holds step 0. Nothing was better. It has no effect');
    says(text, '<code>lora-last/</code> holds step 40. The last weights.</li>');
    says(text, 'no rule is active; not measured: a judge');
  });

  test.each(['diversity', 'frechet', 'heldOutReward'] as const)('%s that was not measured has no chart, tile or column', (name) => {
    const full = run();
    const without = <T extends object>(e: T): T => Object.fromEntries(Object.entries(e).filter(([key]) => key !== name)) as T;
    const evaluations = full.evaluations.map(without);
    const text = renderReport(run({ evaluations, verdict: guardVerdict(evaluations), sweep: full.sweep.map(without) }));
    const plain = renderReport(full);
    const word = { diversity: /diversity|diverse/gi, frechet: /Fréchet/g, heldOutReward: /held-?.?out/gi }[name];
    // The front's explanation speaks of diversity where strengths are drawn.
    const rest = (text.match(word) ?? []).length - (name === 'diversity' ? 1 : 0);
    expect((plain.match(word) ?? []).length).toBeGreaterThan(3);
    expect(rest).toBe(0);
    expect((text.match(/<svg /g) ?? []).length).toBeLessThan((plain.match(/<svg /g) ?? []).length);
    for (const bad of ['NaN', 'undefined', 'Infinity']) hides(text, bad);
  });

  test('does without judge, features, pictures, sweep and steps', () => {
    const evaluations = [0, 10].map((step) => ({ step, reward: step }));
    const nothing = { pairs: [], remake: null, sweep: [], steps: [], files: [], rewardDeviation: 0 };
    const text = renderReport(run({ evaluations, verdict: guardVerdict(evaluations), ...nothing }));
    hides(text, 'Held');
    hides(text, 'Before and after');
    hides(text, 'undefined');
    hides(text, 'NaN');
    hides(text, 'Infinity');
  });

  test('escapes everything and asks for nothing', () => {
    const text = renderReport(run({
      title: hostile, rewardName: hostile, heldOutName: hostile, facts: [[hostile, hostile]],
      files: [[hostile, hostile]], config: { [hostile]: hostile },
      pairs: [{ prompt: hostile, seed: 1, base: png, tuned: png }], remake: { command: hostile, tuned: hostile },
      verdict: { best: 1, stop: { rule: 'held-out', reason: hostile } },
    }));
    const tags = text.match(/<[a-z][^<>]*>/g)!;
    expect(tags.filter((tag) => tag.startsWith('<script'))).toEqual(['<script>']);
    const names = tags.map((tag) => tag.replace(/"[^"]*"/g, '""'));
    expect(names.filter((tag) => /\son\w+=/.test(tag))).toEqual([]);
    // Pictures lie in the page; the only address is the name of SVG.
    const addresses = tags.flatMap((tag) => [...tag.matchAll(/\s(?:src|href|xmlns)="([^"]{0,30})/g)].map((m) => m[1]!));
    const kinds = new Set(addresses.map((a) => (a.startsWith('data:image/png;') ? 'data' : a)));
    expect(kinds).toEqual(new Set(['data', 'http://www.w3.org/2000/svg']));
    expect(/url\(|@import/.test(text)).toBe(false);
  });

  test('stays small for a long run', () => {
    const steps = Array.from({ length: 20_000 }, (_, i) => ({ step: i, reward: Math.sin(i), loss: i, gradNorm: 1 }));
    expect(renderReport(run({ steps })).length).toBeLessThan(200_000);
  });
});
