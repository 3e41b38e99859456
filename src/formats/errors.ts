/** @file What is the user's to mend, told from a defect of the program: bad files, and wrong settings. */
export { shown } from '../graph/errors.js';

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
