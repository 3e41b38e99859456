import { expect, test } from 'vitest';
import { editDistance, nearest, suggestion } from '../../src/rewards/nearest.js';

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

test('says all names where none is near', () => {
  expect(suggestion('ddp', ['ddpo', 'refl'])).toBe('Did you mean ddpo?');
  expect(suggestion('qqqqq', ['ddpo', 'refl'])).toBe('Valid: ddpo, refl.');
  expect(suggestion('q', [])).toBe('There are none.');
});
