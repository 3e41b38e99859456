/** @file The ONNX operators that can be imported, by domain and name. */
import type { Operator } from '../call.js';
import { activation } from './activation.js';
import { attentions } from './attention.js';
import { convolutions } from './convolution.js';
import { elementwise } from './elementwise.js';
import { indexing } from './indexing.js';
import { layout } from './layout.js';
import { microsoft } from './microsoft.js';
import { normalization } from './normalization.js';
import { pooling } from './pooling.js';
import { product } from './product.js';
import { quantization } from './quantization.js';
import { recurrence } from './recurrent.js';
import { reduction } from './reduction.js';
import { resizing } from './resizing.js';
import { sampling } from './sampling.js';
import { values } from './values.js';

// Maps: a file may name an operator "constructor".
const OPERATORS: ReadonlyMap<string, ReadonlyMap<string, Operator>> = new Map([
  ['', new Map(Object.entries({
    ...activation, ...attentions, ...convolutions, ...elementwise, ...indexing, ...layout, ...normalization, ...pooling,
    ...product, ...quantization, ...recurrence, ...reduction, ...resizing, ...sampling, ...values,
  }))],
  ['com.microsoft', new Map(Object.entries(microsoft))],
]);

/** '' and 'ai.onnx' are one domain. */
export const normalDomain = (domain: string): string => (domain === 'ai.onnx' ? '' : domain);

export function findOperator(domain: string, name: string): Operator | undefined {
  return OPERATORS.get(domain)?.get(name);
}
