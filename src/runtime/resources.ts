/** @file What must be let go of at the end, whether all went well or not: sessions, files, locks. */

export interface Resources {
  /** Takes charge of what has a `release`, and gives it back; nothing (null, undefined) is nothing to release. */
  use<T extends { release?: (() => Promise<void> | void) | undefined } | null | undefined>(thing: T): T;
  /** Releases all, the last taken first; what fails does not keep the rest. @throws the first failure */
  release(): Promise<void>;
}

export function openResources(): Resources {
  const held: { release?: (() => Promise<void> | void) | undefined }[] = [];
  return {
    use(thing) {
      if (thing) held.push(thing);
      return thing;
    },
    async release() {
      const failures: unknown[] = [];
      for (const thing of held.splice(0).toReversed()) {
        try {
          await thing.release?.();
        } catch (error) {
          failures.push(error);
        }
      }
      if (failures.length > 0) throw failures[0];
    },
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
