/** @file Tells, before anything is traced, whether a model uses only what can be imported. */
import { allNodes } from './decode.js';
import type { ModelMessage, NodeMessage, ValueInfoMessage } from './decode.js';
import { OnnxError, quoted } from './error.js';
import { shown } from '../errors.js';
import { findOperator, normalDomain } from './operators/index.js';
import { calledFunction, functionKey, isControl, opsetVersions } from './trace.js';

const OPSETS = { first: 7, last: 24 };
/** Names of operators of one kind that a message lists. */
const NAMES = 50;

/** @throws OnnxError listing all unsupported operators with the names of their nodes, or naming what else is wrong. */
export function checkSupported(model: ModelMessage, file: string): void {
  checkOperators(model, file);
  const fail = (problem: string): never => {
    throw new OnnxError(file, problem);
  };
  const imports = [model.opsetImport, ...model.functions.map((f) => f.opsetImport)];
  const versions = imports.map((list) => opsetVersions(list).get(''));
  const outside = versions.find((v) => v !== undefined && !(v >= OPSETS.first && v <= OPSETS.last));
  if (outside !== undefined) {
    const remedy = 'export it again for one of these, or convert it with onnx.version_converter';
    fail(`uses operator set ${outside}; ${OPSETS.first} to ${OPSETS.last} are supported: ${remedy}`);
  }
  if (model.graph.sparseInitializer.length > 0) fail('has sparse weights, which are not supported');
  const graphs = [model.graph, ...allNodes(model).flatMap((n) => n.attribute.flatMap((a) => (a.g ? [a.g] : [])))];
  const doubled = graphs.flatMap((g) => [g.input, g.output]).map(firstRepeated).find((n) => n !== undefined);
  if (doubled !== undefined) fail(`lists the input or output ${quoted(doubled)} twice`);
  if (model.graph.output.length === 0) fail('has no outputs');
  if (new Set(model.functions.map(functionKey)).size < model.functions.length) fail('defines a function twice');
}

function checkOperators(model: ModelMessage, file: string): void {
  const versions = opsetVersions(model.opsetImport);
  const functions = new Set(model.functions.map(functionKey));
  const missing = new Map<string, NodeMessage[]>();
  for (const node of allNodes(model)) {
    const domain = normalDomain(node.domain);
    if (functions.has(calledFunction(node)) || isControl(node) || findOperator(domain, node.opType)) continue;
    const name = domain ? `${shown(domain)}.${shown(node.opType)}` : shown(node.opType);
    const kind = `${name} (operator set ${versions.get(domain) ?? '?'})`;
    const list = missing.get(kind);
    if (list) list.push(node);
    else missing.set(kind, [node]);
  }
  if (missing.size > 0) {
    const lines = [...missing].map(([kind, nodes]) => {
      const names = nodes.slice(0, NAMES).map((n) => quoted(n.name || n.output[0] || ''));
      const more = nodes.length > NAMES ? ` and ${nodes.length - NAMES} more` : '';
      return `  ${kind}: ${names.join(', ')}${more}`;
    });
    throw new OnnxError(file, `uses operators that are not supported:\n${lines.join('\n')}`);
  }
}

function firstRepeated(values: readonly ValueInfoMessage[]): string | undefined {
  const seen = new Set<string>();
  return values.find(({ name }) => seen.size === seen.add(name).size)?.name;
}
