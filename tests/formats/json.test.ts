import { expect, test } from 'vitest';
import { parseObject, pythonJson } from '../../src/formats/json.js';

test('numbers of Python that JSON has no words for are read, and only outside of strings', () => {
  const text = String.raw`{"a": -Infinity, "b": [Infinity, NaN, 1], "NaN": "say \"-Infinity, NaN\"", "c": {"d":NaN}}`;
  const value = parseObject(text, 'f.json');
  expect(value).toEqual({
    a: -Infinity, b: [Infinity, NaN, 1], NaN: 'say "-Infinity, NaN"', c: { d: NaN },
  });
  expect(pythonJson(value)).toContain('"a": -Infinity');
  expect(parseObject(pythonJson(value), 'f.json')).toEqual(value);
});

test.each([
  '{"a": -NaN}', '{"a": Infinit}', '{"a": NaNaN}', '{"a": NaN', '{"a": "NaN}', 'NaN', '[Infinity]', '{Infinity: 1}', '',
])('%s is an error that names the file', (text) => {
  expect(() => parseObject(text, 'f.json')).toThrow(/^f\.json: /);
});

test('a long hostile text takes no longer than it takes to read', () => {
  const text = `{"a": NaN, "b": "${'\\"'.repeat(1 << 20)}`;
  expect(() => parseObject(text, 'f.json')).toThrow(/no complete string/);
});
