/** @file What a schema finds wrong with a user's value, in plain words with what to write instead. */
import { z } from 'zod';
import { shown } from './errors.js';
import { isObject } from './json.js';
import { nearest, suggestion } from './nearest.js';
import { bareSchema } from './schema.js';

type Issue = z.core.$ZodIssue;

/** What is wrong, and where. */
export interface Problem {
  /** Dotted, down to the key at fault; empty for the value as a whole. */
  readonly path: string;
  /** To follow the path and a colon, without a final full stop. */
  readonly text: string;
}

/**
 * The problem to tell of all that a schema found; a key that there is not comes first, since what is missing often has
 * been given by it.
 *
 * @param input what was checked, before any conversion
 * @param schema names what may stand beside a key that there is not
 */
export function problemOf(error: z.ZodError, input: unknown, schema?: z.ZodType): Problem {
  const { issues } = error;
  return problem(issues.find((i) => i.code === 'unrecognized_keys') ?? issues[0]!, input, schema);
}

function problem(issue: Issue, input: unknown, schema?: z.ZodType): Problem {
  const value = at(input, issue.path);
  if (issue.code === 'unrecognized_keys') {
    const key = issue.keys[0]!;
    const names = keysAt(schema, issue.path);
    return { path: dotted([...issue.path, key]), text: `there is no such key${names.length > 0 ? `. ${suggestion(key, names)}` : ''}` };
  }
  const deeper = deepest(issue);
  if (deeper) return problem({ ...deeper, path: [...issue.path, ...deeper.path] }, input, schema);
  const path = dotted(issue.path);
  if (issue.code === 'custom') return { path, text: issue.message };
  const given = value === undefined ? 'is missing' : `is ${shown(JSON.stringify(value) ?? String(value))}`;
  return { path, text: `${given}, and must be ${wanted(issue, value)}` };
}

/** What a value must be, as a noun phrase that follows "must be". */
export function wanted(issue: Issue, value: unknown): string {
  switch (issue.code) {
    case 'invalid_type': return ofType(issue.expected, value);
    case 'too_small': return bound(issue.origin, issue.minimum, issue.exact ? 'exactly' : issue.inclusive === false ? 'more than' : 'at least');
    case 'too_big': return bound(issue.origin, issue.maximum, issue.exact ? 'exactly' : issue.inclusive === false ? 'less than' : 'at most');
    case 'not_multiple_of': return `a multiple of ${issue.divisor}`;
    case 'invalid_value': return choice(issue.values, value);
    case 'invalid_format': return ofFormat(issue);
    case 'invalid_union': return eitherOf(issue, value);
    case 'invalid_key': return `a map; each of its names must be ${wanted(issue.issues[0]!, issue.path.at(-1))}`;
    case 'invalid_element': return wanted(issue.issues[0]!, undefined);
    case 'unrecognized_keys': return `without ${issue.keys.map((k) => `"${shown(k)}"`).join(', ')}`;
    case 'custom': return `otherwise: ${issue.message}`;
  }
}

const one = (value: unknown): boolean => value !== undefined && value !== null && typeof value !== 'object';
const text = (value: unknown): string => shown(typeof value === 'string' ? value : JSON.stringify(value));

function ofType(expected: string, value: unknown): string {
  switch (expected) {
    case 'array': case 'tuple': case 'set': return `a list${one(value) ? `: [${text(value)}]` : ', as [a, b]'}`;
    case 'string': return `a text${typeof value === 'number' || typeof value === 'boolean' ? `: "${text(value)}" in quotes` : ''}`;
    case 'int': return `a whole number${typeof value === 'number' && Number.isFinite(value) ? `, as ${Math.round(value)}` : unquoted(value)}`;
    case 'number': return `a number${unquoted(value)}`;
    case 'boolean': return 'true or false';
    case 'object': case 'record': case 'map': return 'a group of settings, name: value';
    case 'null': return 'null';
    case 'never': case 'undefined': return 'left out';
    case 'nonoptional': return 'there';
    default: return `of the kind ${expected}`;
  }
}

/** A hint for a number that quotes made a text of. */
const unquoted = (value: unknown): string =>
  (typeof value === 'string' && value.trim() !== '' && Number.isFinite(Number(value)) ? ', without quotes' : '');

function bound(origin: string, limit: number | bigint, how: string): string {
  if (origin === 'string') return how === 'at least' && Number(limit) === 1 ? 'a text that is not empty' : `a text of ${how} ${limit} characters`;
  if (origin === 'array' || origin === 'set') return `a list of ${how} ${limit} ${Number(limit) === 1 ? 'entry' : 'entries'}`;
  if (origin === 'map' || origin === 'object' || origin === 'record') return `a group of ${how} ${limit} settings`;
  return origin === 'int' ? `a whole number of ${how} ${limit}` : `${how} ${limit}`;
}

function choice(values: readonly unknown[], value: unknown): string {
  if (values.length === 1) return text(values[0]);
  const names = values.map(text);
  const [near] = typeof value === 'string' ? nearest(value, names, 1) : [];
  return `one of ${names.join(', ')}${near === undefined ? '' : `; did you mean ${near}?`}`;
}

function ofFormat(issue: Extract<Issue, { code: 'invalid_format' }>): string {
  const { format } = issue;
  if (format === 'url') return 'an address that begins with http:// or https://';
  if (format === 'starts_with') return `a text that begins with ${(issue as z.core.$ZodIssueStringStartsWith).prefix}`;
  if (format === 'ends_with') return `a text that ends with ${(issue as z.core.$ZodIssueStringEndsWith).suffix}`;
  if (format === 'includes') return `a text that holds ${(issue as z.core.$ZodIssueStringIncludes).includes}`;
  return format === 'regex' ? `a text that fits ${issue.pattern}` : `a text of the form ${format}`;
}

/** Of a value that several forms were open to, what each of them wants. */
function eitherOf(issue: Extract<Issue, { code: 'invalid_union' }>, value: unknown): string {
  if (issue.inclusive === false) return `of one form alone, not of ${issue.matches.length}`;
  if (issue.discriminator !== undefined) return issue.options ? choice(issue.options, value) : 'of another form';
  return [...new Set(issue.errors.map((branch) => wanted(branch[0]!, value)))].join(' or ');
}

/** Where one form of several was nearly met, it is what was meant: the problem inside it. */
function deepest(issue: Issue): Issue | undefined {
  if (issue.code !== 'invalid_union') return undefined;
  return issue.errors.map((branch) => branch[0]!).find((inner) => inner.path.length > 0 || inner.code === 'unrecognized_keys');
}

const dotted = (path: readonly PropertyKey[]): string => shown(path.map(String).join('.'));

const at = (value: unknown, path: readonly PropertyKey[]): unknown =>
  path.reduce((inner: unknown, key) => (isObject(inner) || Array.isArray(inner) ? (inner as Record<PropertyKey, unknown>)[key] : undefined), value);

/** The keys that a schema has at a path; none where it cannot be told. */
function keysAt(schema: z.ZodType | undefined, path: readonly PropertyKey[]): string[] {
  const plain = schema && bareSchema(schema);
  if (!(plain instanceof z.ZodObject)) return [];
  const [first, ...rest] = path;
  return first === undefined ? Object.keys(plain.shape) : keysAt((plain.shape as Record<PropertyKey, z.ZodType>)[first], rest);
}
