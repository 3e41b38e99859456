/** @file What went wrong, for people: a sentence and an exit code where the cause is known, else the stack for a report. */

/** Mistakes of the user (arguments, configuration, files): exit code 2. Anything else that fails: 1. */
const USER_ERRORS = new Set(['UsageError', 'ConfigError', 'FormatError', 'DatasetError', 'OnnxError', 'DeviceError', 'RewardSpecError', 'SamplingError', 'OverflowError']);

/** What was explained already: exit code 1 and no more than the message. */
const EXPLAINED = new Set(['FailedRunsError', 'DiskFullError', 'RewardError', 'DeviceFailure']);

/** What the system refuses because of how things are called or lie, which is the user's to mend. */
const SYSTEM: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file or folder (was it deleted or moved?)',
  EACCES: 'this user may not do that there',
  EPERM: 'this user may not do that there',
  EROFS: 'the file system is read-only',
  EISDIR: 'it is a folder, and a file is needed',
  ENOTDIR: 'a part of the path is a file, and a folder is needed',
  EEXIST: 'it is there already, and is something else',
  ENOTEMPTY: 'the folder is not empty',
  ENAMETOOLONG: 'the name is too long',
  ELOOP: 'links go in circles',
  EBUSY: 'it is in use',
  ETXTBSY: 'it is in use',
  EMFILE: 'too many files are open (see ulimit -n)',
  EIO: 'the disk or its connection fails',
  ESTALE: 'the network drive has lost it',
};

/** A request for more memory than can be had: by V8, or by ONNX Runtime. */
const NO_MEMORY = /^(?:Invalid typed array length|Array buffer allocation failed|Invalid array length|Array length)|(?:bad_alloc|Failed to allocate memory)/;

export interface Explanation {
  readonly message: string;
  readonly exitCode: number;
}

export function explain(error: unknown): Explanation {
  if (!(error instanceof Error)) return { message: String(error), exitCode: 1 };
  const { name, message } = error;
  if (USER_ERRORS.has(name)) return { message, exitCode: 2 };
  if (EXPLAINED.has(name)) return { message, exitCode: 1 };
  const { code = '', path, syscall } = error as NodeJS.ErrnoException;
  if (path !== undefined && syscall !== undefined && Object.hasOwn(SYSTEM, code)) {
    return { message: `${path}: ${SYSTEM[code]!} (${code}, ${syscall})`, exitCode: 2 };
  }
  if (NO_MEMORY.test(message)) {
    return { message: `this takes more memory than there is (${message}); try smaller sizes, batches or ranks`, exitCode: 2 };
  }
  return { message: error.stack ?? message, exitCode: 1 };
}
