/** @file Gives way in long loops. Of what core code needs of its surroundings this alone is no web standard in Node. */

type Later = (done: () => void) => void;

/** After all that waits already, where the surroundings have such a thing (Node); else a timer, as in browsers. */
const later: Later = (globalThis as { setImmediate?: Later }).setImmediate ?? ((done) => setTimeout(done, 0));

/** Lets signals, messages and timers through that came meanwhile: ONNX Runtime blocks the thread. */
export const pause = (): Promise<void> => new Promise((resolve) => later(resolve));
