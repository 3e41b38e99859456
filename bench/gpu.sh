#!/usr/bin/env bash
# What Attune does on this machine's GPU, in under 8 minutes: a doctor's report, and Stable Diffusion 1.5's architecture with
# random weights (nothing is downloaded but npm's packages). Writes gpu.json and gpu.md.
#   bench/gpu.sh                  all of it
#   bench/gpu.sh --small          the bundled model, for trying on a CPU or a software driver
#   bench/gpu.sh --proof          updates of SD 1.5 at 64 x 64 pixels against the CPU's, instead of times
# Options: --out DIR, --devices webgpu,cuda, --precisions float32,mixed, --batches 1,4, --works unet,lora, --seconds 450
set -euo pipefail
cd "$(dirname "$0")/.."
# Node may be unpacked beside the checkout.
if ! command -v node > /dev/null; then
  for bin in ../node-*/bin node-*/bin; do [ -x "$bin/node" ] && PATH="$(cd "$bin" && pwd):$PATH" && break; done
fi
command -v node > /dev/null || { echo "there is no node: unpack Node 20 or newer beside this folder (node-v20…-linux-x64.tar.xz)"; exit 2; }
[ -d node_modules/typescript ] || npm ci --ignore-scripts
npx tsc -p tsconfig.bench.json
exec node dist-bench/bench/gpu.js "$@"
