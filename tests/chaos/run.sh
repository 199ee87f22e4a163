#!/usr/bin/env bash
# Drives a real service through faults, then checks the history of every job: tests/chaos/run.sh --minutes 30 [--seed 1]
# [--report FILE]. Needs a build (scripts/build.sh). Exits 1 where a promise was broken.
source "$(dirname "$0")/../../scripts/lib.sh"
export PACTORY_BINARY_DIR=${PACTORY_BINARY_DIR:-$build}
exec "${PACTORY_PYTHON:-$python}" "$root/tests/chaos/chaos_run.py" "$@"
