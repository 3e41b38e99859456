/** @file The error of reading `.onnx` files, and the limits that a file must keep to. */
import { shown } from '../errors.js';

/** An `.onnx` file that is damaged, hostile, or uses what is not supported. */
export class OnnxError extends Error {
  override readonly name = 'OnnxError';

  /**
   * @param file the file's path, or what stands for it
   * @param problem what is wrong and what to do about it
   * @param node the operator at fault, as `describeNode` gives it
   */
  constructor(
    readonly file: string,
    problem: string,
    readonly node?: string,
    options?: ErrorOptions,
  ) {
    super(`${file}: ${node === undefined ? '' : `${node}: `}${problem}`, options);
  }
}

/** A name from a file in quotes, for messages. */
export const quoted = (name: string): string => JSON.stringify(shown(name));

/** What no honest file exceeds. They keep a hostile one from taking minutes or all memory. */
export const LIMITS = {
  /** Bytes of the `.onnx` file itself (protobuf's own limit); larger models keep their weights beside it. */
  fileBytes: 2 ** 31 - 1,
  /** Fields, and numbers in lists, outside the data of tensors; an operator has 20 to 30. */
  fields: 2 ** 21,
  /** Bytes of all tensors, as they lie in memory. */
  tensorBytes: 2 ** 34,
  /** Elements of any tensor that a file declares. */
  elements: 2 ** 36,
  /** Elements of any result: 8 GiB of floats. */
  resultElements: 2 ** 31,
  /** Elements by which results of known values alone are larger than what they are made of, all together. */
  grown: 2 ** 27,
  rank: 16,
  /** Operators after functions are written out (one with many inputs or outputs counts for several). */
  nodes: 2 ** 17,
  /** Functions and branches within each other. */
  depth: 32,
  /** Elements of a folded constant; a larger one is computed at run time. */
  foldElements: 2 ** 22,
  /** Elements of all folded constants. */
  foldTotal: 2 ** 24,
  /** Elements of a constant that an operator brings (a mask, resize weights), and of all of them. */
  constantElements: 2 ** 23,
  constantTotal: 2 ** 24,
  /** Numbers in a list that says how an operator works (axes, shape, lengths of a split). */
  listLength: 4096,
} as const;
