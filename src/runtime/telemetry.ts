/**
 * @file Switches off ONNX Runtime's telemetry, which its official builds have on: it would keep an identifier of the user
 * and a database of events in the home folder, and send them. To be imported before the library.
 */
import { isMainThread } from 'node:worker_threads';

/** What ONNX Runtime asks when it starts; whoever has set it has chosen. */
const SWITCH = 'ORT_DISABLE_TELEMETRY';

if (process.env[SWITCH] === undefined) {
  // A worker thread has a copy of the environment, which the library does not read.
  if (!isMainThread) {
    throw new Error(
      `attune cannot switch off ONNX Runtime's telemetry from a worker thread: import attune in the main thread first, or set ${SWITCH}=1 in its environment`,
    );
  }
  process.env[SWITCH] = '1';
}
