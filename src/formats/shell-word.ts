/** @file Words of a command line for people to copy. */

/** A word as a POSIX shell reads it. */
export const shellWord = (word: string): string => (/^[\w./:@%+=,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);
