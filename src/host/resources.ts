/** @file What must be let go of at the end, whether all went well or not: sessions, files, locks. For `await using`. */

// Browsers that do not have it yet take it from here.
(Symbol as { asyncDispose?: symbol }).asyncDispose ??= Symbol.for('Symbol.asyncDispose');

/** Done at the end of the block that it is held in (`await using _ = deferred(…)`), the last held first. */
export const deferred = (end: () => Promise<unknown> | void): AsyncDisposable => ({
  async [Symbol.asyncDispose]() {
    await end();
  },
});

export interface Resources extends AsyncDisposable {
  /** Takes charge of what has a `release`, and gives it back; nothing (null, undefined) is nothing to release. */
  use<T extends { release?: (() => Promise<void> | void) | undefined } | null | undefined>(thing: T): T;
  /** Releases all, the last taken first; what fails does not keep the rest. @throws the first failure */
  release(): Promise<void>;
}

export function openResources(): Resources {
  const held: { release?: (() => Promise<void> | void) | undefined }[] = [];
  async function release(): Promise<void> {
    const failures: unknown[] = [];
    for (const thing of held.splice(0).toReversed()) {
      try {
        await thing.release?.();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
  return {
    use(thing) {
      if (thing) held.push(thing);
      return thing;
    },
    release,
    [Symbol.asyncDispose]: release,
  };
}

/** Opens something of several parts: if `open` fails, what it had taken charge of by then is released. */
export async function releasedOnFailure<T>(open: (resources: Resources) => Promise<T>): Promise<T> {
  const resources = openResources();
  try {
    return await open(resources);
  } catch (error) {
    await resources.release().catch(() => {}); // the first error is the one to tell
    throw error;
  }
}
