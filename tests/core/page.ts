/** @file What the test's page runs. */
import { twoUpdates } from './two-updates.js';

Object.assign(globalThis, { result: twoUpdates() });
