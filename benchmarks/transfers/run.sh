#!/usr/bin/env bash
# Times blobs through gRPC into PostgreSQL and back, beside libpq alone: benchmarks/transfers/run.sh [--mib N] [--rounds N] [--report FILE].
# Needs a build (scripts/build.sh); takes two minutes.
source "$(dirname "$0")/../../scripts/lib.sh"
ninja -C "$build" transfer_benchmark > /dev/null
export PACTORY_BINARY_DIR=${PACTORY_BINARY_DIR:-$build}
exec "${PACTORY_PYTHON:-$python}" "$root/benchmarks/transfers/transfer_benchmark.py" "$@"
