#!/usr/bin/env bash
# Builds the C++ tests with a sanitizer and runs them: scripts/sanitize.sh address,undefined  or  scripts/sanitize.sh thread
source "$(dirname "$0")/lib.sh"
sanitizer=${1:?usage: scripts/sanitize.sh address,undefined|thread}
"$root/scripts/bootstrap.sh"
folder=$root/build/${sanitizer//,/-}
cmake -S "$root" -B "$folder" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DPACTORY_SANITIZE="$sanitizer" \
  -DPACTORY_LIBTORCH_DIR="$cache/libtorch" -DPACTORY_PYTHON_DIR="$cache/venv"
ninja -C "$folder"
# LibTorch and gRPC keep memory to the end of the process on purpose.
cd "$folder" && ASAN_OPTIONS=detect_leaks=0 ctest --output-on-failure -j "$(nproc)"
