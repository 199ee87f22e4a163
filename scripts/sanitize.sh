#!/usr/bin/env bash
# Builds C++ tests with a sanitizer and runs them:
#   scripts/sanitize.sh address,undefined                   all of them
#   scripts/sanitize.sh thread storage server agent         some suites: LibTorch, which quant links, is not built for it
source "$(dirname "$0")/lib.sh"
sanitizer=${1:?usage: scripts/sanitize.sh address,undefined|thread [SUITE...]}
shift
"$root/scripts/bootstrap.sh"
[ "$sanitizer" = thread ] && "$root/scripts/build_tsan_libraries.sh"
folder=$root/build/${sanitizer//,/-}
cmake -S "$root" -B "$folder" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DPACTORY_SANITIZE="$sanitizer" \
  -DPACTORY_LIBTORCH_DIR="$cache/libtorch" -DPACTORY_PYTHON_DIR="$cache/venv"
# LibTorch and gRPC keep memory to the end of the process on purpose.
export ASAN_OPTIONS=detect_leaks=0
# It would only print what it finds, and ctest does not show what a test that passes prints.
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export TSAN_OPTIONS="suppressions=$root/scripts/tsan_suppressions.txt halt_on_error=0"
if [ $# = 0 ]; then
  ninja -C "$folder"
  cd "$folder" && exec ctest --output-on-failure -j "$(nproc)"
fi
ninja -C "$folder" "${@/%/_test}"
export PACTORY_SOURCE_DIR=$root PACTORY_BINARY_DIR=$folder
# Only now: the programs that build are not made for ThreadSanitizer.
[ "$sanitizer" = thread ] && export LD_LIBRARY_PATH=$cache/tsan/lib
for suite in "$@"; do "$folder/bin/${suite}_test"; done
