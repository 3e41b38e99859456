/** @file Before all tests: builds `dist`, the studio's page included, so that tests of the command line run what the sources say, and finds Vulkan. */
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

export default function setup(): void {
  const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin', 'tsc');
  // What was built before lies beside it: a second run compiles only what changed.
  execFileSync(process.execPath, [tsc, '-p', 'tsconfig.build.json', '--incremental', '--tsBuildInfoFile', 'dist/.tsbuildinfo'], { stdio: 'inherit' });
  execFileSync(process.execPath, ['tools/build-studio.mjs'], { stdio: 'inherit' });
  // The system's loader of Vulkan comes first; Debian's chromium brings another, for tests/runtime/webgpu-adapter.ts.
  process.env['LD_LIBRARY_PATH'] = [process.env['LD_LIBRARY_PATH'], '/usr/lib/chromium'].filter(Boolean).join(':');
}
