/** @file Reading what a server answers, no further than its kind can be long. */

/** An answer went on beyond `most` bytes. */
export class TooLongError extends Error {
  override readonly name = 'TooLongError';
}

/** @throws TooLongError, with the rest unread; what the connection throws */
export async function readBounded(response: Response, most: number): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let length = 0;
  for await (const part of response.body ?? []) {
    parts.push(part as Uint8Array<ArrayBuffer>);
    length += (part as Uint8Array).length;
    if (length > most) throw new TooLongError(`the answer is longer than ${most} bytes`); // leaving the loop ends the reading
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}
