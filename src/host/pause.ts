/** @file Gives way in long loops. Of what core code needs of its surroundings this alone is no web standard in Node. */

type Later = (done: () => void) => void;

const immediate = (globalThis as { setImmediate?: Later }).setImmediate;

/** After a whole turn of the event loop: in Node the first of two immediates may come before timers and messages do. */
const later: Later = immediate ? (done) => immediate(() => immediate(done)) : (done) => setTimeout(done, 0);

/** Lets signals, messages and timers through that came meanwhile: ONNX Runtime blocks the thread. */
export const pause = (): Promise<void> => new Promise((resolve) => later(resolve));
