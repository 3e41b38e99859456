/** @file Tells, before anything is traced, whether a model uses only what can be imported. */
import { allNodes } from './decode.js';
import type { ModelMessage, NodeMessage } from './decode.js';
import { OnnxError, shown } from './error.js';
import { findOperator, normalDomain } from './operators/index.js';
import { calledFunction, functionKey, isBranch, opsetVersions } from './trace.js';

const OPSETS = { first: 7, last: 24 };
/** Names of operators of one kind that a message lists. */
const NAMES = 50;

/** @throws OnnxError listing all operators that are not supported, with the names of their nodes. */
export function checkSupported(model: ModelMessage, file: string): void {
  const versions = opsetVersions(model.opsetImport);
  const functions = new Set(model.functions.map(functionKey));
  const missing = new Map<string, NodeMessage[]>();
  for (const node of allNodes(model)) {
    const domain = normalDomain(node.domain);
    if (functions.has(calledFunction(node)) || isBranch(node) || findOperator(domain, node.opType)) continue;
    const kind = `${domain ? `${shown(domain)}.` : ''}${shown(node.opType)} (operator set ${versions.get(domain) ?? '?'})`;
    missing.set(kind, [...(missing.get(kind) ?? []), node]);
  }
  if (missing.size > 0) {
    const lines = [...missing].map(([kind, nodes]) => {
      const names = nodes.slice(0, NAMES).map((n) => JSON.stringify(shown(n.name || n.output[0] || '')));
      return `  ${kind}: ${names.join(', ')}${nodes.length > NAMES ? ` and ${nodes.length - NAMES} more` : ''}`;
    });
    throw new OnnxError(file, `uses operators that are not supported:\n${lines.join('\n')}`);
  }
  const all = [model.opsetImport, ...model.functions.map((f) => f.opsetImport)].map((list) => opsetVersions(list).get(''));
  const outside = all.find((v) => v !== undefined && !(v >= OPSETS.first && v <= OPSETS.last));
  if (outside !== undefined) {
    const remedy = 'export it again for one of these, or convert it with onnx.version_converter';
    throw new OnnxError(file, `uses operator set ${outside}; ${OPSETS.first} to ${OPSETS.last} are supported: ${remedy}`);
  }
  if (model.graph.sparseInitializer.length > 0) throw new OnnxError(file, 'has sparse weights, which are not supported');
  const graphs = [model.graph, ...allNodes(model).flatMap((n) => n.attribute.flatMap((a) => (a.g ? [a.g] : [])))];
  const doubled = graphs.flatMap((g) => [g.input, g.output].map((list) => list.map((v) => v.name))).map(firstRepeated).find((n) => n !== undefined);
  if (doubled !== undefined) throw new OnnxError(file, `lists the input or output ${JSON.stringify(shown(doubled))} twice`);
  if (model.graph.output.length === 0) throw new OnnxError(file, 'has no outputs');
  if (functions.size < model.functions.length) throw new OnnxError(file, 'defines a function twice');
}

function firstRepeated(names: readonly string[]): string | undefined {
  const seen = new Set<string>();
  return names.find((n) => seen.size === seen.add(n).size);
}
