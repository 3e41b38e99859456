/** @file Follows the operators of an ONNX model and traces ours in their place. */
import type { HostTensor } from '../dtype.js';
import { describeShape } from '../errors.js';
import { nodeCount } from '../tensor.js';
import type { Tensor } from '../tensor.js';
import { Call } from './call.js';
import { checkComputable } from './computable.js';
import type { Constants } from './constants.js';
import { describeNode, toNumber } from './decode.js';
import type {
  AttributeMessage, FunctionMessage, GraphMessage, ModelMessage, NodeMessage, OpsetMessage, TensorMessage,
} from './decode.js';
import { LIMITS, OnnxError, quoted } from './error.js';
import { fold } from './fold/fold.js';
import { loop, scan } from './loops.js';
import { inOrder } from './order.js';
import { findOperator, normalDomain } from './operators/index.js';

/** A decoded model, checked for what can be told without tracing. */
export interface Program {
  readonly file: string;
  readonly model: ModelMessage;
  readonly tensors: ReadonlyMap<TensorMessage, HostTensor>;
  readonly constants: Constants;
}

const keyOf = (domain: string, name: string, overload: string): string => `${normalDomain(domain)}:${name}:${overload}`;

export const functionKey = (f: FunctionMessage): string => keyOf(f.domain, f.name, f.overload);
export const calledFunction = (node: NodeMessage): string => keyOf(node.domain, node.opType, node.overload);

/** These are not among the operators: they need the graph around them. */
const CONTROL = new Set(['If', 'Loop', 'Scan']);
export const isControl = (node: NodeMessage): boolean => normalDomain(node.domain) === '' && CONTROL.has(node.opType);

export const opsetVersions = (list: readonly OpsetMessage[]): Map<string, number> =>
  new Map(list.map((o) => [normalDomain(o.domain), toNumber(o.version)]));

/** Values by name; those of a branch also see the graph around it. */
class Scope {
  private readonly values = new Map<string, Tensor | null>();

  constructor(private readonly outer: Scope | null) {}

  get(name: string): Tensor | null | undefined {
    const own = this.values.get(name);
    return own === undefined && this.outer ? this.outer.get(name) : own;
  }

  /** False if this graph has a value of that name. */
  set(name: string, value: Tensor | null): boolean {
    if (this.values.has(name)) return false;
    this.values.set(name, value);
    return true;
  }
}

/** Inputs or outputs of an operator; one that is left out is null or undefined. */
type Values = readonly (Tensor | null | undefined)[];

/** What the operators of one graph or function body share. */
interface Frame {
  readonly scope: Scope;
  readonly opsets: ReadonlyMap<string, number>;
  /** Inside a function: the attributes it was called with. */
  readonly attributes: ReadonlyMap<string, AttributeMessage>;
  /** Makes names in different calls of one function differ. */
  readonly path: string;
  readonly depth: number;
}

/**
 * Traces the model on `inputs`.
 *
 * @returns the tensors of the graph's outputs, by name
 * @throws OnnxError naming the operator that cannot be traced
 */
export function traceModel(program: Program, inputs: ReadonlyMap<string, Tensor>): Map<string, Tensor> {
  const { file, model, tensors, constants } = program;
  const functions = new Map(model.functions.map((f) => [functionKey(f), f]));
  const folding = { known: constants.of, left: LIMITS.foldTotal as number };
  let nodesLeft: number = LIMITS.nodes;
  let constantsLeft: number = LIMITS.constantTotal;
  let growthLeft: number = LIMITS.grown;
  /** Values that depend on no input of the model, though they are not known here. */
  const unfolded = new WeakSet<Tensor>();

  const spendNodes = (count: number): void => {
    nodesLeft -= count;
    if (nodesLeft < 0) fail(`the model has more than ${LIMITS.nodes} operators`);
  };

  const fail = (problem: string, node?: NodeMessage, cause?: unknown): never => {
    throw new OnnxError(file, problem, node && describeNode(node), { cause });
  };

  const define = (frame: Frame, name: string, value: Tensor | null, node?: NodeMessage): void => {
    if (!frame.scope.set(name, value)) fail(`two values are named ${quoted(name)}`, node);
  };

  /** Values that a few bytes of file make large would cost time and memory at each run. */
  const limitGrowth = (made: Values, given: Values): void => {
    if (!given.every((t) => !t || unfolded.has(t) || constants.of(t))) return;
    const largest = Math.max(0, ...given.map((t) => t?.size ?? 0));
    for (const t of made) {
      if (!t) continue;
      unfolded.add(t);
      growthLeft -= Math.max(0, t.size - largest);
      if (growthLeft < 0) throw new Error(`makes ${describeShape(t.shape)} of known numbers alone: more than a file may bring`);
    }
  };

  /** A value that may have been computed just now (by nodes from `start` on), as a known one if possible. */
  const settle = (t: Tensor, name: string, start: number): Tensor => {
    if (t.rank > LIMITS.rank || t.size > LIMITS.resultElements) {
      throw new Error(`its result ${describeShape(t.shape)} is too large`);
    }
    if (constants.of(t)) return t;
    const value = t.node.value ?? (t.node.id >= start ? fold(t, start, folding) : undefined);
    if (value) return constants.make(name, value);
    checkComputable(t, start);
    return t;
  };

  const runNode = (node: NodeMessage, frame: Frame): void => {
    spendNodes(1 + Math.floor((node.input.length + node.output.length) / 8));
    if (node.input.length > LIMITS.listLength || node.output.length > LIMITS.listLength) {
      fail(`has more than ${LIMITS.listLength} inputs or outputs`, node);
    }
    const read = (name: string): Tensor | null => {
      if (name === '') return null;
      const value = frame.scope.get(name);
      if (value !== undefined) return value;
      return fail(`reads ${quoted(name)}, which nothing makes`, node);
    };
    const given: (Tensor | null)[] = node.input.map(read);
    const called = functions.get(calledFunction(node));
    const start = nodeCount();
    const results = called ? runFunction(node, called, given, frame) : runOperator(node, given, frame);
    if (!called && !isControl(node) && node.opType !== 'Constant') limitGrowth(results, given);
    node.output.forEach((name, i) => {
      if (name === '') return;
      const t = results[i] ?? fail(`output ${i} is not supported`, node);
      // What a function or a branch made has been settled inside it.
      define(frame, name, called || node.opType === 'If' ? t : settle(t, frame.path + name, start), node);
    });
  };

  const runOperator = (node: NodeMessage, given: Values, frame: Frame): Values => {
    const domain = normalDomain(node.domain);
    const opset = frame.opsets.get(domain);
    if (opset === undefined) return fail(`the file gives no version of domain ${quoted(domain)}`, node);
    const call = new Call(node, given.map((t) => t ?? null), {
      file,
      opset,
      resolve: (a) => resolveAttribute(a, frame),
      known: constants.of,
      tensor: (message) => tensors.get(message)!,
      afford: (elements) => (constantsLeft -= elements) >= 0,
    });
    const result = isControl(node) ? runControl(call, frame) : findOperator(domain, node.opType)!(call);
    call.checkAllUsed();
    return Array.isArray(result) ? (result as Values) : [result as Tensor];
  };

  /** Runs a graph within the graph of an operator, whose values it sees. */
  const runInner = (call: Call, name: string, frame: Frame, given: Values = []): readonly Tensor[] => {
    const graph = call.graph(name);
    const path = `${frame.path}${call.node.output.find((o) => o !== '')}/`;
    const inner = { ...frame, scope: new Scope(frame.scope), path, depth: frame.depth + 1 };
    if (given.length !== graph.input.length) call.fail(`gives ${given.length} values to a body of ${graph.input.length}`);
    graph.input.forEach((info, k) => define(inner, info.name, settle(given[k]!, path + info.name, Infinity)));
    return runGraph(graph, inner);
  };

  const runControl = (call: Call, frame: Frame): readonly Tensor[] => {
    if (call.node.opType !== 'If') {
      return (call.node.opType === 'Loop' ? loop : scan)(call, (given) => runInner(call, 'body', frame, given));
    }
    const taken = call.scalar(0) ? 'then_branch' : 'else_branch';
    call.ignore('then_branch', 'else_branch');
    return runInner(call, taken, frame);
  };

  const runFunction = (node: NodeMessage, f: FunctionMessage, given: Values, frame: Frame): Values => {
    const attributes = new Map<string, AttributeMessage>();
    for (const a of [...f.attributeProto, ...node.attribute]) {
      const value = resolveAttribute(a, frame);
      if (value) attributes.set(a.name, value);
    }
    const inner: Frame = {
      scope: new Scope(null),
      opsets: opsetVersions(f.opsetImport),
      attributes,
      path: `${frame.path}${node.output[0]}/`,
      depth: frame.depth + 1,
    };
    if (given.length > f.input.length) fail(`gives ${given.length} inputs to a function of ${f.input.length}`, node);
    f.input.forEach((name, i) => define(inner, name, given[i] ?? null, node));
    runNodes(f.node, inner);
    return f.output.map((name) => inner.scope.get(name) ?? fail(`does not make its output ${quoted(name)}`, node));
  };

  const runNodes = (nodes: readonly NodeMessage[], frame: Frame): void => {
    if (frame.depth > LIMITS.depth) fail(`functions or branches lie more than ${LIMITS.depth} deep in each other`);
    for (const node of inOrder(nodes, (n) => fail('depends on itself: the operators form a cycle', n))) {
      try {
        runNode(node, frame);
      } catch (cause) {
        if (cause instanceof OnnxError) throw cause;
        fail(cause instanceof Error ? cause.message : String(cause), node, cause);
      }
    }
  };

  const runGraph = (graph: GraphMessage, frame: Frame): Tensor[] => {
    spendNodes(graph.initializer.length);
    for (const t of graph.initializer) define(frame, t.name, constants.make(frame.path + t.name, tensors.get(t)!));
    runNodes(graph.node, frame);
    return graph.output.map(({ name }) => frame.scope.get(name) ?? fail(`nothing makes output ${quoted(name)}`));
  };

  const scope = new Scope(null);
  const frame: Frame = { scope, opsets: opsetVersions(model.opsetImport), attributes: new Map(), path: '', depth: 0 };
  for (const [name, t] of inputs) define(frame, name, t);
  const outputs = runGraph(model.graph, frame);
  return new Map(model.graph.output.map(({ name }, i) => [name, outputs[i]!]));
}

/** An attribute's value; inside a function it may be one of the attributes that the function was called with. */
function resolveAttribute(attribute: AttributeMessage, frame: Frame): AttributeMessage | undefined {
  if (attribute.refAttrName === '') return attribute;
  const found = frame.attributes.get(attribute.refAttrName);
  // Absent fields are defaults of the message's prototype, which a copy would lose.
  return found && (Object.create(found, { name: { value: attribute.name } }) as AttributeMessage);
}
