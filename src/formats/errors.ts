/** @file What is the user's to mend, told from a defect of the program: bad files, and wrong settings. */

/** A file is missing, damaged, hostile or of an unsupported kind. The message names the file and the remedy. */
export class FormatError extends Error {
  override readonly name = 'FormatError';

  /**
   * @param where the file (and key) at fault
   * @param problem what is wrong with it, without a final full stop
   * @param remedy what to do next, as a sentence
   */
  constructor(where: string, problem: string, remedy: string, options?: ErrorOptions) {
    super(`${where}: ${problem}. ${remedy}`, options);
  }
}

/** A setting or a wish that is wrong: its message names it and the remedy. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/** A file's text or key as it may be shown in a message: short, on one line, without control characters. */
export function shown(text: string): string {
  const clean = text.slice(0, 500).replace(/[\p{C}\s]+/gu, ' ');
  return clean.length > 120 ? `${clean.slice(0, 117)}…` : clean;
}
