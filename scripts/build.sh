#!/usr/bin/env bash
# Builds everything, optimized, on all cores. Arguments go to ninja: `scripts/build.sh pactory-server` builds one target.
source "$(dirname "$0")/lib.sh"

"$root/scripts/bootstrap.sh"

[ -f "$build/build.ninja" ] || say "configuring $build"
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DPACTORY_LIBTORCH_DIR="$cache/libtorch" -DPACTORY_PYTHON_DIR="$cache/venv" > "$cache/cmake.log" 2>&1 ||
  { tail -n 30 "$cache/cmake.log" >&2; fail "cmake failed (whole log: $cache/cmake.log)"; }
say "building (a first build takes about 7 minutes on two cores)"
ninja -C "$build" "$@"
