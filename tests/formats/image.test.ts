import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { host, type HostTensor } from '../../src/graph/dtype.js';
import { imageGrid } from '../../src/formats/image-grid.js';
import { encodePng, jpegBytes, readImage, resizeImage, writePng } from '../../src/formats/image.js';
import { random, scratch, tensor } from './helpers.js';

const folder = scratch();

/** A picture whose values are whole 255ths. */
function picture(height: number, width: number, seed = 1): HostTensor {
  const next = random(seed);
  const data = Float32Array.from({ length: 3 * height * width }, () => Math.floor(next() * 256) / 255);
  return host(data, [3, height, width]);
}

function values(image: HostTensor): number[] {
  return Array.from(image.data as Float32Array);
}

/** The value of channel c at (x, y). */
function at(image: HostTensor, c: number, x: number, y: number): number {
  const [, height, width] = image.shape as [number, number, number];
  return image.data[(c * height + y) * width + x] as number;
}

describe('image files', () => {
  it('round trip', async () => {
    const image = picture(5, 7);
    const path = join(folder, 'a.png');
    await writePng(path, image);
    expect(await readImage(path)).toEqual(image);
  });

  it('rounds and clamps', async () => {
    const image = host(Float32Array.of(-1, 0.4999 / 255, 0.5001 / 255, 254.6 / 255, 7, NaN), [3, 1, 2]);
    const read = await readImage(await encodePng(image));
    expect(values(read).map((v) => Math.round(v * 255))).toEqual([0, 0, 1, 255, 255, 0]);
  });

  it('refuses what is no picture tensor', async () => {
    await expect(encodePng(tensor([4, 2, 2]))).rejects.toThrow(/float32 \[3, H, W\], not float32 \[4, 2, 2\]/);
    await expect(encodePng(tensor([3, 0, 2]))).rejects.toThrow(/not float32 \[3, 0, 2\]/);
  });

  it('composes transparency on white or another colour, and repeats grey', async () => {
    const create = { width: 2, height: 2, channels: 4 as const, background: '#ff000000' };
    const clear = await sharp({ create }).png().toBuffer();
    expect(values(await readImage(clear))).toEqual(Array(12).fill(1));
    expect(values(await readImage(clear, { background: '#000' }))).toEqual(Array(12).fill(0));
    const grey = await sharp(Buffer.from([0, 51, 102, 255]), { raw: { width: 2, height: 2, channels: 1 } })
      .toColourspace('b-w').png().toBuffer();
    const read = await readImage(grey);
    expect(read.shape).toEqual([3, 2, 2]);
    for (const c of [0, 1, 2]) expect(at(read, c, 1, 0)).toBeCloseTo(0.2, 6);
  });

  it('turns pictures upright and crops to a size', async () => {
    // 4 wide, 2 high, left half red, right half blue; orientation 6: the camera was turned, show it 90° clockwise.
    const raw = Buffer.alloc(24);
    for (let i = 0; i < 8; i++) raw[3 * i + (i % 4 < 2 ? 0 : 2)] = 255;
    const source = sharp(raw, { raw: { width: 4, height: 2, channels: 3 } });
    const turned = await readImage(await source.clone().withMetadata({ orientation: 6 }).png().toBuffer());
    expect(turned.shape).toEqual([3, 4, 2]);
    expect([at(turned, 0, 0, 0), at(turned, 2, 0, 3)]).toEqual([1, 1]);
    const cropped = await readImage(await source.png().toBuffer(), { size: { width: 2, height: 2 } });
    expect(cropped.shape).toEqual([3, 2, 2]);
    expect(at(cropped, 0, 0, 0)).toBe(1);
    expect(at(cropped, 2, 1, 0)).toBe(1);
  });

  it('says what is wrong with a file', async () => {
    const path = join(folder, 'bad.png');
    const png = await encodePng(picture(40, 40));
    for (const [content, reason] of [
      ['hello', /bad.png: cannot be read as an image/], ['', /bad.png: cannot be read as an image/],
      [png.subarray(0, 900), /bad.png: cannot be read as an image/],
    ] as const) {
      writeFileSync(path, content);
      await expect(readImage(path)).rejects.toThrow(reason);
    }
    writeFileSync(path, png);
    await expect(readImage(path, { maxPixels: 1000 })).rejects.toThrow(/pixel limit.*at most 1000 pixels/);
    await expect(readImage(join(folder, 'gone.png'))).rejects.toThrow(/gone.png: cannot be opened \(ENOENT\)/);
    await expect(readImage(folder)).rejects.toThrow(/is not a file/);
  });

  it('carries generation parameters as text chunks', async () => {
    const parameters = 'a red apple\nSteps: 20, Sampler: DDIM, Seed: 1';
    const png = await encodePng(picture(3, 3), { parameters, Comment: 'りんご, Müller' });
    const { comments } = await sharp(png).metadata();
    expect(comments).toEqual(expect.arrayContaining([
      { keyword: 'parameters', text: parameters }, { keyword: 'Comment', text: 'りんご, Müller' },
    ]));
    expect(await readImage(png)).toEqual(picture(3, 3));
    expect(png.indexOf('tEXtparameters\0a red apple')).toBe(37); // right after the header
    await expect(encodePng(picture(3, 3), { 'new\nline': '' })).rejects.toThrow(/keyword/);
  });

  it('counts JPEG bytes as Pillow writes them', async () => {
    // PIL.Image.save(format='JPEG', quality=q) of this very picture, Pillow 13.0.0.
    const n = 64;
    const wave = new Float32Array(3 * n * n);
    for (let c = 0; c < 3; c++) {
      for (let y = 0; y < n; y++) {
        for (let x = 0; x < n; x++) {
          wave[(c * n + y) * n + x] = ((x * (c + 1) * 5 + y * y * 3) % 256) / 255;
        }
      }
    }
    const image = host(wave, [3, n, n]);
    const sizes = [await jpegBytes(image), await jpegBytes(image, 75), await jpegBytes(image, 50)];
    expect(sizes).toEqual([4984, 2755, 1990]);
  });
});

describe('grids', () => {
  it('lays pictures out in rows on white', async () => {
    const images = [1, 2, 3].map((seed) => picture(4, 6, seed));
    const sheet = await imageGrid(images, { columns: 2, gap: 3 });
    expect(sheet.shape).toEqual([3, 3 + 2 * 7, 3 + 2 * 9]);
    for (const [i, [left, top]] of [[3, 3], [12, 3], [3, 10]].entries()) {
      for (const [c, x, y] of [[0, 0, 0], [1, 5, 3], [2, 2, 1]] as const) {
        expect(at(sheet, c, left! + x, top! + y)).toBe(at(images[i]!, c, x, y));
      }
    }
    for (const [x, y] of [[0, 0], [9, 3], [12, 10], [20, 16]]) expect(at(sheet, 1, x!, y!)).toBe(1);
  });

  it('enlarges tiny pictures and draws labels only below them', async () => {
    const images = Array.from({ length: 4 }, () => host(new Float32Array(3 * 16 * 16), [3, 16, 16]));
    const labels = ['<script>&"', 'a label far too long for so small a picture', '\x00\ud800', ''];
    const sheet = await imageGrid(images, { labels, minWidth: 64, gap: 2 });
    expect(sheet.shape).toEqual([3, 2 + 2 * (64 + 2 + 18), 2 + 2 * 66]);
    expect(at(sheet, 0, 2, 2)).toBe(0);
    expect(at(sheet, 0, 65, 65)).toBe(0);
    expect(at(sheet, 0, 0, 0)).toBe(1);
  });

  it('refuses no pictures and mixed sizes', async () => {
    await expect(imageGrid([])).rejects.toThrow(/at least one image/);
    await expect(imageGrid([picture(2, 2), picture(2, 3)])).rejects.toThrow(/one size, not 2x2 and 3x2/);
  });
});

it.each([
  ['cubic', 2, 3, [0.424573, 0.382179, 0.632504, 0.502475, 0.498269, 0.598769]],
  ['lanczos3', 2, 3, [0.432501, 0.383663, 0.64769, 0.510582, 0.49305, 0.602164]],
  ['nearest', 2, 3, [0.366337, 0.09901, 0.574257, 0.306931, 0.178218, 0.910891]],
  // the first row and a little more of 7x9
  ['cubic', 7, 9, [0, 0.11729, 0.468715, 0.77009, 0.197995, 0.196504, 0.529607, 0.051715, 0.261978, 0.539396]],
  ['lanczos3', 7, 9, [0, 0.013484, 0.522281, 0.813677, 0.162303, 0.152312, 0.611014, 0.064328, 0.247079, 0.59443]],
  ['nearest', 7, 9, [0, 0.366337, 0.366337, 0.732673, 0.09901, 0.09901, 0.465347, 0, 0.366337, 0.366337]],
] as const)('resizes (%s) to %ix%i as Pillow does', (kernel, width, height, expected) => {
  const plane = Float32Array.from({ length: 20 }, (_, i) => (((i % 5) * 37 + Math.floor(i / 5) * 61) % 101) / 101);
  const image = host(Float32Array.from([...plane, ...plane, ...plane]), [3, 4, 5]);
  const result = resizeImage(image, width, height, kernel);
  expect(result.shape).toEqual([3, height, width]);
  for (const [i, value] of expected.entries()) {
    for (const c of [0, 1, 2]) expect(result.data[c * width * height + i]).toBeCloseTo(value, 5);
  }
});
