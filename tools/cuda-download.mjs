/**
 * @file Before `npm install attune`: on Linux x64 the install script of ONNX Runtime downloads its CUDA libraries and dies
 * with a stack trace where their host is blocked. This one runs before it and says what to set.
 *
 *     node tools/cuda-download.mjs [URL of the index that is asked for first]
 */
import { existsSync, realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const INDEX = 'https://api.nuget.org/v3/index.json';
/** Each of these decides about the download, or about how its host is reached. */
const DECIDED = [
  'ONNXRUNTIME_NODE_INSTALL', 'ONNXRUNTIME_NODE_INSTALL_CUDA', 'npm_config_onnxruntime_node_install', 'npm_config_onnxruntime_node_install_cuda',
  'GLOBAL_AGENT_HTTPS_PROXY', 'GLOBAL_AGENT_HTTP_PROXY',
];

function present() {
  try {
    const runtime = dirname(createRequire(import.meta.url).resolve('onnxruntime-node/package.json'));
    return existsSync(join(runtime, 'bin/napi-v6/linux/x64/libonnxruntime_providers_cuda.so'));
  } catch {
    return false; // not unpacked yet
  }
}

/** Why the index cannot be had; null if it can. A slow answer is left to ONNX Runtime's script, which waits longer. */
async function obstacle(url) {
  try {
    const { ok, status } = await fetch(url, { signal: AbortSignal.timeout(10_000) });
    return ok ? null : `HTTP ${status}`;
  } catch (error) {
    return error.name === 'TimeoutError' ? null : (error.cause?.code ?? error.cause?.message ?? error.message);
  }
}

const url = process.argv[2] ?? INDEX;
// In a checkout, package.json and package-lock.json keep ONNX Runtime's script from running.
const { npm_config_local_prefix: project } = process.env;
const checkout = project !== undefined && existsSync(project) && realpathSync(project) === realpathSync(process.cwd());
const asked = process.platform === 'linux' && process.arch === 'x64' && !checkout && !DECIDED.some((name) => process.env[name]) && !present();
const reason = asked ? await obstacle(url) : null;
if (reason !== null) {
  process.stderr.write(
    `attune: ONNX Runtime's install script would download CUDA libraries by way of ${new URL(url).host}, which cannot be reached (${reason}).\n` +
    'They are needed for --device cuda alone. Install without them:\n\n' +
    '    ONNXRUNTIME_NODE_INSTALL=skip npm install attune\n\n',
  );
  process.exitCode = 1;
}
