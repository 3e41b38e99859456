import { defineConfig } from 'vitest/config';

// Workers may run on another processor: tools/older-processors.sh gives a Node that emulates one.
process.execPath = process.env['ATTUNE_TEST_NODE'] ?? process.execPath;

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
