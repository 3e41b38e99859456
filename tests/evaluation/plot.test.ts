import { describe, expect, test } from 'vitest';
import sharp from 'sharp';
import { besideLevel, placeLabels, spreadOut, textWidth } from '../../src/evaluation/plot-labels.js';
import { plot } from '../../src/evaluation/plot.js';
import { axis, numberText, tickText } from '../../src/evaluation/ticks.js';

describe('axes', () => {
  test.each<[number[], number, number[]]>([
    [[0, 1], 5, [0, 0.2, 0.4, 0.6, 0.8, 1]],
    [[0.13, 0.38], 5, [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4]],
    [[-3, 17], 4, [-5, 0, 5, 10, 15, 20]],
    [[0, 99_000], 4, [0, 50_000, 100_000]],
    [[1e-6, 3e-6], 4, [1e-6, 1.5e-6, 2e-6, 2.5e-6, 3e-6]],
  ])('%j has round ticks around it', (values, count, ticks) => {
    expect(axis(values, count).ticks).toEqual(ticks);
  });
  test('ends at the values if tight', () => {
    expect(axis([1, 120], 5, true)).toEqual({ low: 1, high: 120, ticks: [50, 100], decimals: 0 });
  });
  test('has room around one value, and around none', () => {
    for (const values of [[5], [0], [], [NaN, Infinity]]) {
      const { low, high, ticks } = axis(values, 5);
      expect(high).toBeGreaterThan(low);
      expect(ticks.length).toBeGreaterThan(2);
    }
  });
  test('numbers are written for people', () => {
    const ticks = [0.1 + 0.2, -2, 0, 12_000, 2_500_000].map((v) => tickText(v, 1));
    expect(ticks).toEqual(['0.3', '−2.0', '0.0', '12k', '2.5M']);
    expect(tickText(-0.04, 1)).toBe('0.0');
    expect([0.12345, 12.345, 12345, -0.5, 0, 1e-7, NaN, 0.9996].map((v) => numberText(v)))
      .toEqual(['0.123', '12.3', '12300', '−0.500', '0', '1.00e−7', 'NaN', '1.00']);
  });
});

describe('labels', () => {
  const limits = { left: 0, right: 200, top: 0, bottom: 100 };
  test('stand clear of each other, inside, and go where the fewest lines are', () => {
    const points = [{ text: 'one', x: 100, y: 50 }, { text: 'two', x: 104, y: 50 }, { text: 'edge', x: 198, y: 50 }];
    const placed = placeLabels(points, 10, limits, [{ left: 100, right: 140, top: 40, bottom: 60 }]);
    expect(placed.map((p) => p.text)).toEqual(['one', 'two', 'edge']);
    expect(placed[0]!.x).toBeLessThan(100); // to the left: the line is on the right
    const boxes = placed.map((p) => ({ ...p, right: p.x + textWidth(p.text, 10) }));
    boxes.forEach((a) => expect(a.x >= 0 && a.right <= 200).toBe(true));
    boxes.forEach((a, i) => boxes.slice(i + 1).forEach((b) =>
      expect(a.right <= b.x || b.right <= a.x || Math.abs(a.y - b.y) >= 10).toBe(true)));
    const crowd = Array.from({ length: 20 }, () => points[0]!);
    expect(placeLabels(crowd, 10, limits, []).length).toBeLessThan(10);
  });
  test('names of lines are moved apart and stay above the bottom', () => {
    expect(spreadOut([50, 20, 52], 15, 100)).toEqual([50, 20, 65]);
    expect(spreadOut([98, 99, 100], 15, 100)).toEqual([70, 85, 100]);
  });
  test('the name of a level avoids the curve', () => {
    const right = { left: 150, right: 200, top: 30, bottom: 70 };
    expect(besideLevel(50, 40, 10, limits, [right]).x).toBeLessThan(100);
    expect(besideLevel(50, 40, 10, limits, [])).toEqual({ x: 160, y: 46 });
  });
});

describe('plot', () => {
  const points = [{ x: 0, y: 1 }, { x: 1, y: 3, label: 'a <b>' }, { x: 2, y: NaN }, { x: 3, y: 2 }];
  const options = { title: 'T & <script>', x: 'step', y: 'score' };

  test('is valid, escaped SVG with the points at their places', async () => {
    const two = { name: 'two', points, spread: [0.1, 0.1, 0.1, 0.1] };
    const svg = plot([{ name: 'one "x"', points, marks: 'both' }, two], options);
    expect(svg).not.toContain('<script');
    expect(svg).toContain('T &amp; &lt;script&gt;');
    expect(svg).toContain('a &lt;b&gt;');
    expect(svg).not.toContain('NaN');
    expect(svg.match(/class="f0 halo"/g)).toHaveLength(3);
    expect(svg).toContain('<title>one &quot;x&quot; (a &lt;b&gt;): 1.00, 3.00</title>');
    expect(svg).toContain('prefers-color-scheme:dark');
    const { format } = await sharp(Buffer.from(svg)).metadata(); // librsvg refuses what is not well formed
    expect(format).toBe('svg');
  });

  test('names lines at their ends, many or labelled ones in a legend', () => {
    const lines = (n: number): string => plot(Array.from({ length: n }, (_, i) =>
      ({ name: `name${i}`, points: [{ x: 0, y: i }, { x: 1, y: 2 * i }] })), options);
    const x = (svg: string, name: string): number =>
      Number(new RegExp(`<text x="([\\d.]+)"[^>]*>${name}<`).exec(svg)?.[1] ?? NaN);
    expect(x(lines(1), 'name0')).toBeNaN();
    expect(x(lines(3), 'name2')).toBeGreaterThan(300);
    expect(x(lines(6), 'name0')).toBeLessThan(50);
  });

  test('becomes a PNG, light or dark', async () => {
    const corner = async (theme: 'light' | 'dark'): Promise<number> => {
      const png = await sharp(Buffer.from(plot([{ name: 'one', points }], { ...options, theme, width: 200, height: 120 })), { density: 144 }).png().toBuffer();
      const { data, info } = await sharp(png).raw().toBuffer({ resolveWithObject: true });
      expect([info.width, info.height]).toEqual([400, 240]);
      return data[(8 * 400 + 200) * info.channels]!; // above the title, in whatever font
    };
    expect(await corner('light')).toBeGreaterThan(240);
    expect(await corner('dark')).toBeLessThan(40);
  });

  test('of nothing is an empty plot', () => {
    expect(plot([], options)).toContain('</svg>');
    expect(plot([{ name: 'none', points: [{ x: NaN, y: 1 }] }], options)).not.toContain('NaN');
  });
});
