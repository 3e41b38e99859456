/** @file Which of the traced operators ONNX Runtime has no code for in a dtype, so that a file that needs one is refused. */
import type { DType } from '../dtype.js';
import type { Node, Tensor } from '../tensor.js';

const BYTES: readonly DType[] = ['int8', 'uint8', 'bool'];
const INTEGERS: readonly DType[] = [...BYTES, 'int32', 'int64'];

/** By operator, the dtypes of its data that it cannot be computed in (of operator set 18, by ONNX Runtime 1.30). */
const WITHOUT: ReadonlyMap<string, readonly DType[]> = new Map<string, readonly DType[]>([
  ...['Add', 'Sub', 'Mul', 'Div', 'Mod', 'Max', 'Min', 'Abs', 'Sign', 'Less', 'LessOrEqual', 'Greater', 'GreaterOrEqual',
    'ReduceMax', 'ReduceMin', 'ArgMax', 'ArgMin', 'TopK'].map((op) => [op, ['bool']] as const),
  ...['Neg', 'Relu'].map((op) => [op, ['uint8', 'bool']] as const),
  ...['Pow', 'ReduceSum', 'ReduceMean', 'ReduceProd', 'MatMul', 'CumSum'].map((op) => [op, BYTES] as const),
  ...['And', 'Or', 'Not'].map((op) => [op, ['int8', 'uint8', 'int32', 'int64']] as const),
  ['Where', ['int8', 'bool']],
  ['MaxPool', ['int32', 'int64', 'bool']],
  ...['Acos', 'Acosh', 'Asin', 'Asinh', 'Atan', 'Atanh', 'AveragePool', 'Ceil', 'Conv', 'ConvTranspose', 'Cos', 'Cosh', 'Erf',
    'Exp', 'Floor', 'Gelu', 'Gemm', 'HardSigmoid', 'LayerNormalization', 'Log', 'LogSoftmax', 'MultiHeadAttention', 'QuickGelu',
    'Reciprocal', 'Round', 'Sigmoid', 'Sin', 'Sinh', 'Softmax', 'Softplus', 'Sqrt', 'Tanh'].map((op) => [op, INTEGERS] as const),
]);

/** @throws Error if something that `tensor` is made of since node `start` cannot be computed in its dtype */
export function checkComputable(tensor: Tensor, start: number): void {
  const seen = new Set<Node>();
  const stack = [tensor.node];
  for (let node = stack.pop(); node; node = stack.pop()) {
    if (node.id < start || seen.has(node)) continue;
    seen.add(node);
    const dtype = node.inputs[node.op === 'Where' ? 1 : 0]?.dtype;
    if (dtype && WITHOUT.get(node.op)?.includes(dtype)) throw new Error(`cannot be computed on ${dtype}`);
    for (const t of node.inputs) if (t) stack.push(t.node);
  }
}
