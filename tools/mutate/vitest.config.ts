import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

/** Tests with mutants: one worker, nothing built beforehand, long tests allowed. */
export default defineConfig({
  root: join(import.meta.dirname, '../..'),
  test: { include: ['tests/**/*.test.ts'], pool: 'forks', maxWorkers: 1, testTimeout: 600_000, runner: './tools/mutate/runner.ts' },
});
