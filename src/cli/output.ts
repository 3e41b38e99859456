/**
 * @file The way out to the terminal, for all that is written: texts of files, networks and libraries may hold what a
 * terminal obeys (colours, cursor, title, clipboard), or what makes it show another order than the text has.
 */

/**
 * Characters that are written as `\u001b` and the like: controls but for newline and tab; marks of writing direction,
 * invisible ones, and separators that some take for a new line. Joiners, which emoji and scripts need, stay.
 */
const HOSTILE = /[^\P{Cc}\n\t]|[\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0001}]/gu;

const escaped = (character: string): string =>
  Array.from({ length: character.length }, (_, i) => `\\u${character.charCodeAt(i).toString(16).padStart(4, '0')}`).join('');

/** The text without what a terminal obeys. JSON stays JSON of the same value: there such characters are in strings only. */
export const printable = (text: string): string => text.replace(HOSTILE, escaped);

/** A text that shall fill one line whatever it holds. */
export const inLine = (text: string): string => clipped(text).replace(/\r?\n|\r/g, '\\n');

/** Characters of a message that one still reads. */
const LONGEST = 3000;

/** A message of bearable length: begin and end, where the file and the remedy stand. */
export const clipped = (message: string): string =>
  (message.length <= LONGEST ? message : `${message.slice(0, LONGEST - 1000)} … ${message.slice(-1000)}`);

const unguarded = new WeakMap<NodeJS.WriteStream, (text: string) => boolean>();

/** From now on the stream takes nothing but printable text, whoever writes. */
export function guardOutput(stream: NodeJS.WriteStream): void {
  const write = stream.write.bind(stream) as (chunk: string | Uint8Array, ...rest: unknown[]) => boolean;
  unguarded.set(stream, write);
  const guarded = (chunk: string | Uint8Array, ...rest: unknown[]): boolean =>
    write(printable(typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString('utf8')), ...rest);
  stream.write = guarded as typeof stream.write;
}

/** Replaces the line that the cursor is in. */
export function rewriteLine(stream: NodeJS.WriteStream, text: string): void {
  const write = unguarded.get(stream) ?? stream.write.bind(stream);
  write(`\r\x1b[2K${printable(text)}`);
}
