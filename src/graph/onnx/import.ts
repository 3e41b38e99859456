/** @file The bytes of an `.onnx` file as a differentiable function on tensors. */
import type { HostTensor } from '../dtype.js';
import { describeShape, traceError } from '../errors.js';
import { input } from '../tensor.js';
import type { Tensor } from '../tensor.js';
import { createConstants } from './constants.js';
import { allTensors, decodeModel } from './decode.js';
import type { ModelMessage, TensorMessage } from './decode.js';
import { OnnxError } from './error.js';
import { shown } from '../errors.js';
import { graphInputs } from './export.js';
import type { ExternalData } from './external.js';
import { resolvePorts } from './ports.js';
import type { ImportOptions, Port } from './ports.js';
import { checkSupported } from './support.js';
import { tensorReader } from './tensor-data.js';
import { traceModel } from './trace.js';

export type { ImportOptions, Port };

/** An imported model. */
export interface OnnxFunction {
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
  /** The numbers of the frozen inputs that `call` traces, by name: give them to `compile`. */
  readonly weights: ReadonlyMap<string, HostTensor>;
  /**
   * Traces the model on tensors of the shapes in `inputs`. Calls share their weights.
   *
   * @throws TraceError if an input is missing, unknown, or of another shape or dtype
   */
  call(inputs: Readonly<Record<string, Tensor>>): Record<string, Tensor>;
}

/** Where a model was read from, for messages, and what lies beside it. */
export interface ModelPlace {
  readonly file: string;
  readonly external: ExternalData | null;
}

/**
 * An ONNX model (operator sets 7 to 24) as a function that can be differentiated by its inputs. All floats are computed in
 * float32: float16, bfloat16 and float64 weights, inputs and outputs become float32, and conversions between float types
 * do nothing.
 *
 * @param bytes of the file
 * @param place closed when this returns or throws
 * @throws OnnxError if the file is damaged, leaves a dimension open, or uses operators that are not supported (all of them
 *   are listed)
 */
export function importModel(
  bytes: Uint8Array, options: ImportOptions = {}, { file, external }: ModelPlace = { file: 'ONNX model', external: null },
): OnnxFunction {
  try {
    return traced(decodeModel(bytes, file), file, external, options);
  } catch (cause) {
    if (cause instanceof OnnxError) throw cause;
    // For instance an allocation that the machine cannot satisfy.
    throw new OnnxError(file, `cannot be imported (${shown(String(cause))})`, undefined, { cause });
  } finally {
    external?.close();
  }
}

function traced(model: ModelMessage, file: string, external: ExternalData | null, options: ImportOptions): OnnxFunction {
  checkSupported(model, file);
  const tensors = readTensors(model, file, external);
  const inputs = resolvePorts(model, file, options);
  const constants = createConstants(options.prefix ?? 'onnx/');
  const program = { file, model, tensors, constants };

  // Once on inputs of its own, so that what is wrong with the file shows now.
  const trial = traceModel(program, new Map(inputs.map((p) => [p.name, input(p.name, p.shape, p.dtype)])));
  const outputs = [...trial].map(([name, { shape, dtype }]) => ({ name, shape, dtype }));
  const read = graphInputs({ outputs: Object.fromEntries(trial) });
  const weights = new Map([...constants.weights].filter(([name]) => read.has(name)));

  return {
    inputs,
    outputs,
    weights,
    call(given) {
      const names = inputs.map((p) => p.name);
      const unknown = Object.keys(given).find((name) => !names.includes(name));
      if (unknown !== undefined) traceError(file, `has no input ${unknown}; its inputs: ${names.join(', ')}`);
      const tensorsByName = inputs.map(({ name, shape, dtype }): [string, Tensor] => {
        const t = given[name] ?? traceError(file, `input ${name} was not given`);
        if (t.dtype !== dtype || describeShape(t.shape) !== describeShape(shape)) {
          traceError(file, `input ${name} takes ${dtype}${describeShape(shape)}, not ${t}`);
        }
        return [name, t];
      });
      return Object.fromEntries(traceModel(program, new Map(tensorsByName)));
    },
  };
}

/** Takes the numbers out of the messages, so that the bytes of the file can be let go. */
function readTensors(model: ModelMessage, file: string, external: ExternalData | null): Map<TensorMessage, HostTensor> {
  const reader = tensorReader(file, external);
  const read = new Map<TensorMessage, HostTensor>();
  for (const message of allTensors(model)) {
    read.set(message, reader.read(message));
    message.rawData = new Uint8Array();
    message.floatData = message.doubleData = message.int32Data = message.int64Data = [];
  }
  return read;
}
