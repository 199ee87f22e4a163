#!/usr/bin/env bash
# Measures the queue, and another queue on the same PostgreSQL in the same run: benchmarks/queue/run.sh [--small] [--report FILE].
# Needs a build (scripts/build.sh); fetches the other queue (Procrastinate) from PyPI. The whole takes about ten minutes.
source "$(dirname "$0")/../../scripts/lib.sh"
requirements=$root/benchmarks/queue/requirements.txt
if [ "$(cat "$cache/queue-peer/.stamp" 2>/dev/null)" != "$(sha256sum < "$requirements")" ]; then
  say "making the Python environment of the other queue"
  /usr/bin/python3 -m venv --clear "$cache/queue-peer"
  "$cache/queue-peer/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"
  sha256sum < "$requirements" > "$cache/queue-peer/.stamp"
fi
export PACTORY_BINARY_DIR=${PACTORY_BINARY_DIR:-$build}
exec "${PACTORY_PYTHON:-$python}" "$root/benchmarks/queue/queue_benchmark.py" --peer-python "$cache/queue-peer/bin/python" "$@"
