/** @file Every kind of problem that a schema can find is told in words of the user's, never in zod's. */
import { expect, test } from 'vitest';
import { z } from 'zod';
import { problemOf } from '../../src/formats/plain-issues.js';
import { resolveConfig, parseAssignment } from '../../src/training/config.js';

function told(schema: z.ZodType, value: unknown): string {
  const result = schema.safeParse(value);
  if (result.success) throw new Error('it was accepted');
  const { path, text } = problemOf(result.error, value, schema);
  return path === '' ? text : `${path}: ${text}`;
}

const person = z.strictObject({ name: z.string().min(1), rank: z.int().positive().default(4) });
const nested = z.strictObject({ who: person.prefault({ name: 'x' }) });

test.each<[string, z.ZodType, unknown, string]>([
  ['a text for a list', z.array(z.string()), 'to_q', 'is "to_q", and must be a list: [to_q]'],
  ['a map for a list', z.array(z.string()), {}, 'is {}, and must be a list, as [a, b]'],
  ['a text for a tuple', z.tuple([z.int(), z.int()]), 5, 'is 5, and must be a list: [5]'],
  ['a number for a text', z.string(), 5, 'is 5, and must be a text: "5" in quotes'],
  ['a list for a text', z.string(), ['a'], 'is ["a"], and must be a text'],
  ['nothing', z.strictObject({ a: z.string() }), {}, 'a: is missing, and must be a text'],
  ['null', z.number(), null, 'is null, and must be a number'],
  ['a word for a number', z.number(), 'many', 'is "many", and must be a number'],
  ['a quoted number', z.number(), '0.5', 'is "0.5", and must be a number, without quotes'],
  ['a fraction', z.int(), 2.4, 'is 2.4, and must be a whole number, as 2'],
  ['a word for a whole number', z.int(), 'a', 'is "a", and must be a number'],
  ['a word for a truth', z.boolean(), 'yes', 'is "yes", and must be true or false'],
  ['a number for an object', person, 5, 'is 5, and must be a group of settings, name: value'],
  ['a text for a record', z.record(z.string(), z.string()), 'a', 'is "a", and must be a group of settings, name: value'],
  ['what must not be', z.never(), 1, 'is 1, and must be left out'],
  ['null alone', z.null(), 1, 'is 1, and must be null'],
  ['too small', z.number().min(2), 1, 'is 1, and must be at least 2'],
  ['not positive', z.int().positive(), 0, 'is 0, and must be more than 0'],
  ['too large', z.number().max(2), 3, 'is 3, and must be at most 2'],
  ['too large, exclusive', z.number().lt(1), 1, 'is 1, and must be less than 1'],
  ['not a multiple', z.int().multipleOf(8), 5, 'is 5, and must be a multiple of 8'],
  ['an empty text', z.string().min(1), '', 'is "", and must be a text that is not empty'],
  ['a short text', z.string().min(3), 'a', 'is "a", and must be a text of at least 3 characters'],
  ['a long text', z.string().max(2), 'abc', 'is "abc", and must be a text of at most 2 characters'],
  ['an empty list', z.array(z.string()).min(1), [], 'is [], and must be a list of at least 1 entry'],
  ['a list of another length', z.array(z.int()).length(2), [1], 'is [1], and must be a list of exactly 2 entries'],
  ['an entry', z.array(z.int()), [1, 'a'], '1: is "a", and must be a number'],
  ['no choice of some', z.enum(['cosine', 'linear']), 'cosin', 'is "cosin", and must be one of cosine, linear; did you mean cosine?'],
  ['nothing like a choice', z.enum(['cosine', 'linear']), 7, 'is 7, and must be one of cosine, linear'],
  ['another constant', z.literal('x'), 'y', 'is "y", and must be x'],
  ['no address', z.url(), 'nowhere', 'is "nowhere", and must be an address that begins with http:// or https://'],
  ['another form', z.string().regex(/^a+$/), 'b', 'is "b", and must be a text that fits /^a+$/'],
  ['another beginning', z.string().startsWith('a'), 'b', 'is "b", and must be a text that begins with a'],
  ['another end', z.string().endsWith('a'), 'b', 'is "b", and must be a text that ends with a'],
  ['something missing inside', z.string().includes('a'), 'b', 'is "b", and must be a text that holds a'],
  ['a date', z.iso.date(), 'b', 'is "b", and must be a text of the form date'],
  ['none of two forms', z.union([z.int(), z.literal('all')]), 'al', 'is "al", and must be a number or all'],
  ['out of the bounds of a form', z.union([z.int().positive(), z.literal('all')]), 0, 'is 0, and must be more than 0'],
  ['inside a form', z.union([z.null(), person]), { name: 5 }, 'name: is 5, and must be a text: "5" in quotes'],
  ['no form of several', z.discriminatedUnion('kind', [z.object({ kind: z.literal('a') }), z.object({ kind: z.literal('b') })]), { kind: 'zzzz' },
    'kind: is "zzzz", and must be one of a, b'],
  ['a name in a record', z.record(z.string().min(2), z.int()), { a: 1 }, 'a: is 1, and must be a map; each of its names must be a text of at least 2 characters'],
  ['an unknown key', person, { name: 'a', rnak: 1 }, 'rnak: there is no such key. Did you mean rank?'],
  ['an unknown key deep inside', nested, { who: { name: 'a', rnak: 1 } }, 'who.rnak: there is no such key. Did you mean rank?'],
  ['an unknown key before what is missing', person, { nmae: 'a' }, 'nmae: there is no such key. Did you mean name?'],
  ['what a rule of ours says', z.int().refine((x) => x % 2 === 0, 'is odd'), 1, 'is odd'],
])('%s', (_, schema, value, expected) => {
  expect(told(schema, value)).toBe(expected);
});

test('control characters of a value or key are not shown as they are', () => {
  expect(told(z.number(), 'a\u001B[31m')).not.toMatch(/\p{C}/u);
  expect(told(person, { name: 'a', 'b\u001B[31m': 1 })).not.toMatch(/\p{C}/u);
});

test.each([
  ['lora.targets=x', 'lora.targets: is "x", and must be a list: [x]'],
  ['schedule=cosin', 'schedule: is "cosin", and must be one of constant, cosine, linear; did you mean cosine?'],
  ['lora.rank=0', 'lora.rank: is 0, and must be more than 0'],
  ['guard=5', 'guard: is 5, and must be a group of settings, name: value'],
  ['negativePrompt=5', 'negativePrompt: is 5, and must be a text: "5" in quotes'],
])('--set %s', (assignment, expected) => {
  expect(() => resolveConfig({}, [parseAssignment(assignment)])).toThrow(expected);
});
