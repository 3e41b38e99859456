/** @file What can be set, as rows of a table, read from the schema that checks it. */
import { z } from 'zod';

/** A setting: its dotted name, what it takes, what it is unless given, and what it means. */
export interface Setting {
  readonly name: string;
  readonly takes: string;
  /** Empty where there is none. */
  readonly default: string;
  readonly required: boolean;
  readonly meaning: string;
}

/** The part of a JSON schema that is read here. */
interface Node {
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Node[];
  readonly items?: Node;
  readonly properties?: Readonly<Record<string, Node>>;
  readonly required?: readonly string[];
  readonly default?: unknown;
  readonly description?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly exclusiveMaximum?: number;
}

function takes(node: Node): string {
  if (node.anyOf) return node.anyOf.map(takes).join(' | ');
  if (node.enum) return node.enum.join(' | ');
  if (node.const !== undefined) return String(node.const);
  if (node.type === 'array') return `list of ${takes(node.items ?? {})}`;
  const { minimum, exclusiveMinimum, exclusiveMaximum } = node;
  const maximum = node.maximum === Number.MAX_SAFE_INTEGER ? undefined : node.maximum;
  const bounds = [
    ...(minimum === undefined ? [] : [`>= ${minimum}`]), ...(exclusiveMinimum === undefined ? [] : [`> ${exclusiveMinimum}`]),
    ...(maximum === undefined ? [] : [`<= ${maximum}`]), ...(exclusiveMaximum === undefined ? [] : [`< ${exclusiveMaximum}`]),
  ];
  const kind = node.type === 'string' ? 'text' : node.type === 'boolean' ? 'true | false' : (node.type ?? 'anything');
  return [kind, node.type === 'string' ? '' : bounds.join(' and ')].filter((part) => part !== '').join(' ');
}

const shown = (value: unknown): string =>
  (value === undefined ? '' : typeof value === 'string' ? value : JSON.stringify(value));

/** The settings of an object's schema, those of nested objects by dotted names. */
export function settingsOf(schema: z.ZodType, prefix = ''): Setting[] {
  return rows(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as Node, prefix);
}

function rows({ properties = {}, required = [] }: Node, prefix: string): Setting[] {
  return Object.entries(properties).flatMap(([key, node]) => {
    const name = prefix + key;
    // An object that may be null is given key by key too.
    const inner = node.properties ? node : node.anyOf?.find((n) => n.properties);
    const meaning = node.description ?? '';
    const own = { name, default: shown(node.default), required: required.includes(key), meaning };
    if (!inner) return [{ ...own, takes: takes(node) }];
    const whole = { ...own, takes: node.anyOf ? 'settings | null' : 'settings', default: '' };
    return [...(meaning === '' ? [] : [whole]), ...rows(inner, `${name}.`)];
  });
}
