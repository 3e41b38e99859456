import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['tests/**/*.test.ts'],
    globalSetup: ['tests/build.ts'],
    // ONNX Runtime uses the cores itself: more workers than cores would only fight.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 120_000,
  },
});
