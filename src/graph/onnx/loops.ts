/** @file ONNX Loop and Scan, written out round by round: how many rounds there are must be known. */
import { concat, narrow, reshape, unsqueeze } from '../ops/layout.js';
import { normalizeAxes } from '../ops/reduce.js';
import { literal } from '../tensor.js';
import type { Tensor } from '../tensor.js';
import type { Call } from './call.js';
import { LIMITS } from './error.js';

/** Traces the body once on these inputs, in its order. */
export type Body = (inputs: readonly Tensor[]) => readonly Tensor[];

function checkRounds(c: Call, rounds: number): void {
  if (!(rounds <= LIMITS.listLength)) c.fail(`takes ${rounds} rounds; ${LIMITS.listLength} are supported`);
}

/** What the rounds made, one after the other along a new axis. */
function collected(c: Call, made: readonly (readonly Tensor[])[], axes: readonly number[] = [], reversed: readonly number[] = []): Tensor[] {
  const [first] = made;
  if (!first) return [];
  return first.map((t, k) => {
    const axis = normalizeAxes(c.node.opType, t.rank + 1, [axes[k] ?? 0])[0]!;
    const each = made.map((round) => unsqueeze(round[k]!, axis));
    return concat(reversed[k] === 1 ? each.toReversed() : each, axis);
  });
}

/** Rounds end at the trip count or when the body's condition, which must be known, is false. */
export function loop(c: Call, body: Body): Tensor[] {
  const limit = c.optional(0) ? c.scalar(0) : Infinity;
  const conditional = c.optional(1) !== undefined;
  let goes = !conditional || c.scalar(1) !== 0;
  let states = c.inputs.slice(2).map((_, i) => c.x(2 + i));
  const made: Tensor[][] = [];
  let round = 0;
  for (; goes && round < limit; round++) {
    checkRounds(c, round + 1);
    const [condition, ...rest] = body([literal(round, [], 'int64'), literal(1, [], 'bool'), ...states]);
    if (!condition || rest.length < states.length) c.fail(`its body gives ${rest.length} values for ${states.length} states`);
    if (conditional || limit === Infinity) {
      const known = c.known(condition) ?? c.fail('its condition depends on the inputs: only a known number of rounds is supported');
      goes = Number(known.data[0]) !== 0;
    }
    states = rest.slice(0, states.length);
    made.push(rest.slice(states.length));
  }
  const wanted = c.node.output.length - states.length;
  if (round === 0 && wanted > 0) c.fail('makes lists in no rounds, which is not supported');
  return [...states, ...collected(c, made)];
}

/** A round for each index along the scanned axes. */
export function scan(c: Call, body: Body): Tensor[] {
  if (c.opset < 9) c.fail('Scan of operator set 8 is not supported');
  const count = c.int('num_scan_inputs') ?? c.fail('attribute num_scan_inputs is missing');
  const inputs = c.all();
  if (!(count >= 1 && count <= inputs.length)) c.fail(`impossible num_scan_inputs ${count}`);
  let states: readonly Tensor[] = inputs.slice(0, inputs.length - count);
  const scanned = inputs.slice(inputs.length - count);
  const [given, backwards] = [c.intList('scan_input_axes') ?? [], c.intList('scan_input_directions') ?? []];
  const axes = scanned.map((t, k) => normalizeAxes('Scan', t.rank, [given[k] ?? 0])[0]!);
  const rounds = scanned[0]!.shape[axes[0]!]!;
  if (scanned.some((t, k) => t.shape[axes[k]!] !== rounds)) c.fail('its inputs differ in length');
  checkRounds(c, rounds);
  const made: Tensor[][] = [];
  for (let round = 0; round < rounds; round++) {
    const slices = scanned.map((t, k) => {
      const at = backwards[k] === 1 ? rounds - 1 - round : round;
      return reshape(narrow(t, axes[k]!, at, at + 1), t.shape.toSpliced(axes[k]!, 1));
    });
    const results = body([...states, ...slices]);
    states = results.slice(0, inputs.length - count);
    made.push(results.slice(inputs.length - count));
  }
  return [...states, ...collected(c, made, c.intList('scan_output_axes'), c.intList('scan_output_directions'))];
}
