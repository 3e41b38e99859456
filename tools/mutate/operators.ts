/**
 * @file Mutants of a source file: small changes of meaning, each as a replacement of the text of one syntax node. Types,
 * texts, messages of errors and the bounds of options are left alone.
 */
import { parseAst } from 'vitest/node';

export interface Mutant {
  /** The node that is replaced, as positions in the file. */
  readonly start: number;
  readonly end: number;
  /** Its text in place of the file's. */
  readonly text: string;
  readonly kind: string;
  /** Whether the node is a statement, which is left out rather than replaced. */
  readonly statement: boolean;
}

interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [key: string]: unknown;
}

const OTHER: Readonly<Record<string, readonly string[]>> = {
  '+': ['-'], '-': ['+'], '*': ['/'], '/': ['*'], '%': ['*'], '**': ['*'],
  '<': ['<=', '>='], '<=': ['<', '>'], '>': ['>=', '<='], '>=': ['>', '<'], '===': ['!=='], '!==': ['==='], '==': ['!='], '!=': ['=='],
  '&&': ['||'], '||': ['&&'], '+=': ['-='], '-=': ['+='], '*=': ['/='], '/=': ['*='],
};
/** Operations of graphs and numbers of which the first argument alone is left. */
const FALL = /^(?:add|sub|mul|div|square|sqrt|exp|log|tanh|sigmoid|clamp|minimum|maximum|stopGradient|perItem|scaled|pow)$/;
const NOT_COMMUTING = /^(?:sub|div|pow)$/;
const NAMES: Readonly<Record<string, string>> = { min: 'max', max: 'min', every: 'some', some: 'every', floor: 'ceil', ceil: 'floor', minimum: 'maximum', maximum: 'minimum' };
const FALL_METHODS = /^(?:filter|toReversed|toSorted|slice|reverse|fill)$/;
/** What is said of an option, and the numbers it is held to. */
const OPTION_BOUNDS = /^(?:min|max|lt|lte|gt|gte|positive|nonnegative|int|describe|multipleOf|refine)$/;

const isBound = (callee: string): boolean => OPTION_BOUNDS.test(/\w+$/.exec(callee)?.[0] ?? '') && /\bz\.|\.default|describe/.test(callee);
const isNode = (value: unknown): value is Node => typeof value === 'object' && value !== null && typeof (value as Node).type === 'string';
const isText = (node: Node): boolean => node.type === 'TemplateLiteral' || (node.type === 'Literal' && typeof node['value'] === 'string');
const nameOf = (node: unknown): string => (isNode(node) && node.type === 'Identifier' ? (node['name'] as string)
  : isNode(node) && node.type === 'MemberExpression' && !node['computed'] ? nameOf(node['property']) : '');
const isSimple = (node: Node): boolean => node.type === 'Identifier' || (node.type === 'MemberExpression' && !node['computed']);

/** @param source TypeScript */
export function mutantsOf(source: string): Mutant[] {
  const found: Mutant[] = [];
  const at = (node: Node): string => source.slice(node.start, node.end);
  const make = (node: Node, text: string, kind: string): void => {
    if (text !== at(node)) found.push({ start: node.start, end: node.end, text, kind, statement: kind === 'statement' });
  };
  /** The node's text with parts of it replaced, [start, end, text] in order. */
  const edited = (node: Node, ...edits: readonly (readonly [number, number, string])[]): string => {
    let text = '', from = node.start;
    for (const [start, end, by] of edits) [text, from] = [text + source.slice(from, start) + by, end];
    return text + source.slice(from, node.end);
  };

  function operator(node: Node): void {
    const [left, right] = [node['left'] as Node, node['right'] as Node];
    const written = node['operator'] as string;
    if (written === '+' && (isText(left) || isText(right))) return;
    const position = source.indexOf(written, left.end);
    for (const by of OTHER[written] ?? []) make(node, edited(node, [position, position + written.length, by]), 'operator');
    if (written === '??') for (const side of [left, right]) make(node, at(side), 'default');
  }

  function literal(node: Node): void {
    const { value } = node;
    if (typeof value === 'boolean') make(node, String(!value), 'boolean');
    if (typeof value !== 'number') return;
    for (const by of Number.isInteger(value) ? [value + 1, value - 1] : [2 * value, 0]) if (by >= 0) make(node, String(by), 'constant');
  }

  function call(node: Node): void {
    const callee = node['callee'] as Node, args = node['arguments'] as Node[];
    const name = nameOf(callee);
    const [a, b] = args;
    if (FALL.test(name) && a && a.type !== 'SpreadElement') make(node, at(a), 'operation left out');
    if (a && b && (NOT_COMMUTING.test(name) || (args.length <= 4 && isSimple(a) && isSimple(b) && !/^(?:add|mul|min|max)$/.test(name)))) {
      make(node, edited(node, [a.start, a.end, at(b)], [b.start, b.end, at(a)]), 'arguments swapped');
    }
    if (/^(?:add|mul)$/.test(name) && b) make(node, at(b), 'operation left out');
    const other = Object.hasOwn(NAMES, name) ? NAMES[name] : undefined;
    if (callee.type === 'MemberExpression') {
      const { object, property } = callee as unknown as { object: Node; property: Node };
      if (other && !isBound(at(callee))) make(node, edited(node, [property.start, property.end, other]), 'function');
      if (FALL_METHODS.test(name)) make(node, at(object), 'call left out');
    }
  }

  function condition(node: Node): void {
    for (const by of ['true', 'false']) make(node, by, 'condition');
  }

  function mutate(node: Node): void {
    if (node.type === 'BinaryExpression' || node.type === 'LogicalExpression') operator(node);
    else if (node.type === 'AssignmentExpression' && node['operator'] !== '=') operator(node);
    else if (node.type === 'Literal') literal(node);
    else if (node.type === 'CallExpression') call(node);
    else if (node.type === 'UnaryExpression' && /^[-!]$/.test(node['operator'] as string)) make(node, at(node['argument'] as Node), 'sign');
    else if (node.type === 'ConditionalExpression' || node.type === 'IfStatement') condition(node['test'] as Node);
    else if (node.type === 'ExpressionStatement') make(node, '', 'statement');
  }

  /** @param spine whether the node is a link of an optional chain, which cannot be put in parentheses */
  function visit(node: Node, spine = false): void {
    if (node.type.startsWith('TS') && !isNode(node['expression']) && node.type !== 'TSParameterProperty') return;
    if (/^(?:Import|ExportAll|Throw)/.test(node.type)) return;
    const chain = spine && /^(?:MemberExpression|CallExpression|TSNonNullExpression)$/.test(node.type);
    if (!chain) mutate(node);
    const bounds = node.type === 'CallExpression' && isBound(at(node['callee'] as Node));
    for (const [key, value] of Object.entries(node)) {
      if (key === 'typeAnnotation' || key === 'returnType' || key === 'typeArguments' || key === 'typeParameters') continue;
      if (key === 'key' && !node['computed']) continue;
      if (bounds && key === 'arguments') continue;
      const link = node.type === 'ChainExpression' || (chain && (key === 'object' || key === 'callee' || key === 'expression'));
      for (const child of Array.isArray(value) ? value : [value]) if (isNode(child)) visit(child, link);
    }
  }

  visit(parseAst(source, { lang: 'ts' }) as unknown as Node);
  return found;
}

/**
 * The file with all its mutants in it, each behind `attuneMutant(id)`.
 *
 * @param first the id of the first mutant; the others follow
 */
export function withMutants(source: string, mutants: readonly Mutant[], first: number): string {
  const groups = new Map<string, { start: number; end: number; own: (Mutant & { id: number })[] }>();
  for (const [i, mutant] of mutants.entries()) {
    const name = `${mutant.start} ${mutant.end} ${mutant.statement}`;
    const group = groups.get(name) ?? { start: mutant.start, end: mutant.end, own: [] };
    group.own.push({ ...mutant, id: first + i });
    groups.set(name, group);
  }
  // Outer nodes first; of the same place the statement is around the expression.
  const sorted = [...groups.values()].toSorted((a, b) => a.start - b.start || b.end - a.end || Number(b.own[0]!.statement) - Number(a.own[0]!.statement));
  let next = 0;
  function text(from: number, to: number): string {
    let made = '', at = from;
    while (next < sorted.length && sorted[next]!.start < to) {
      const group = sorted[next++]!;
      made += source.slice(at, group.start);
      const original = text(group.start, group.end);
      made += group.own[0]!.statement ? `{ if (!attuneMutant(${group.own[0]!.id})) ${original} }`
        : `(${group.own.map(({ id, text: by }) => `attuneMutant(${id}) ? (${by}) : `).join('')}(${original}))`;
      at = group.end;
    }
    return made + source.slice(at, to);
  }
  return `const { attuneMutant } = globalThis;\n${text(0, source.length)}`;
}
