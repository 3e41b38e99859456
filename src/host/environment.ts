/** @file Environment variables, which hold keys and passwords; browsers have none. */

export type Environment = Readonly<Record<string, string | undefined>>;

export const environment: Environment = (globalThis as { process?: { env: Environment } }).process?.env ?? {};
