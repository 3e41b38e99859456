/** @file Rounding of numbers as Python, NumPy and ONNX's Round have it. */

/** The nearest integer; halves go to the even neighbour. */
export function halfToEven(x: number): number {
  const low = Math.floor(x);
  const rest = x - low;
  return rest > 0.5 || (rest === 0.5 && low % 2 !== 0) ? low + 1 : low;
}
