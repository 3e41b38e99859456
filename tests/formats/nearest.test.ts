import { expect, test } from 'vitest';
import { editDistance, nearest, suggestion } from '../../src/formats/nearest.js';

test.each([
  ['', '', 0], ['abc', 'abc', 0], ['', 'abc', 3], ['kitten', 'sitting', 3], ['draft', 'drfat', 1], ['ab', 'ba', 1],
])('distance of %j and %j is %i', (a, b, expected) => {
  expect(editDistance(a, b)).toBe(expected);
  expect(editDistance(b, a)).toBe(expected);
});

test('suggests what is meant, first what fits best', () => {
  const names = ['draft', 'draft-lv', 'drtune', 'refl', 'ddpo', 'compressibility', 'incompressibility'];
  expect(nearest('darft', names)[0]).toBe('draft');
  expect(nearest('DRAFT', names)[0]).toBe('draft');
  expect(nearest('comp', names)[0]).toBe('compressibility');
  expect(nearest('compresibility', names).slice(0, 2)).toEqual(['compressibility', 'incompressibility']);
  expect(nearest('xyzzyplugh', names)).toEqual([]);
});

test('a shared part, a name inside the word and a word of its text are near', () => {
  const texts = new Map([['symmetry', 'Correlation with the mirror image'], ['color', 'brightness, hue']]);
  const names = ['symmetry', 'color', 'jpeg-compressibility', 'onnx'];
  expect(nearest('jpeg-size', names)).toEqual(['jpeg-compressibility']);
  expect(nearest('my.onnx', names)).toEqual(['onnx']);
  expect(nearest('mirror', names, 3, texts)).toEqual(['symmetry']);
  expect(nearest('brightness', names, 1, texts)).toEqual(['color']);
  expect(nearest('mirror', names)).toEqual([]);
});

test('says all names where none is near', () => {
  expect(suggestion('ddp', ['ddpo', 'refl'])).toBe('Did you mean ddpo?');
  expect(suggestion('qqqqq', ['ddpo', 'refl'])).toBe('Valid: ddpo, refl.');
  expect(suggestion('q', [])).toBe('There are none.');
});
