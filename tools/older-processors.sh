#!/usr/bin/env bash
# Runs the runtime's tests again on emulated older processors: ONNX Runtime chooses its kernels, and we the layout of
# convolutions, by what the processor says it can. Haswell has AVX2 and no AVX-512, Nehalem neither.
# Needs Linux on x64 and qemu-user (Debian: apt-get install qemu-user); without them it says so and is done.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ "$(uname -sm)" != "Linux x86_64" ]]; then
  echo "older processors: not tested, for emulating them takes Linux on x64"
  exit 0
fi
if ! command -v qemu-x86_64 > /dev/null; then
  install=(apt-get install -qq -y --no-install-recommends qemu-user)
  [[ $(id -u) == 0 ]] || install=(sudo -n "${install[@]}")
  { "${install[@]}" || { "${install[@]/install/update}"; "${install[@]}"; }; } > /dev/null 2>&1 || true
fi
if ! command -v qemu-x86_64 > /dev/null; then
  echo "older processors: not tested, for qemu-x86_64 is missing and could not be installed (apt-get install qemu-user)"
  exit 0
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# Vitest itself runs on this processor; its one worker, started by this name, on the other.
cat > "$folder/node" << EOF
#!/bin/sh
exec qemu-x86_64 -cpu "\$ATTUNE_TEST_CPU" "$(command -v node)" "\$@"
EOF
chmod +x "$folder/node"
# One core each; what they say comes in order.
running=()
for cpu in ${*:-Haswell Nehalem}; do
  # The emulator warns, once a worker, of features that no user program sees.
  ATTUNE_TEST_CPU=$cpu ATTUNE_TEST_NODE=$folder/node npx vitest run --maxWorkers=1 --no-isolate \
    tests/runtime/{compile,blocked-convolution,hidden-shapes}.test.ts \
    > "$folder/$cpu" 2>&1 &
  running+=("$! $cpu")
done
failed=0
for each in "${running[@]}"; do
  read -r pid cpu <<< "$each"
  wait "$pid" || failed=1
  echo "older processors: $cpu"
  grep -v "TCG doesn't support requested feature" "$folder/$cpu" || true
done
exit "$failed"
