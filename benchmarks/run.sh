#!/usr/bin/env bash
# Runs the benchmarks that tell how fast training is and holds their ratios against benchmarks/baseline.json: benchmarks/run.sh [FOLDER]
# writes their reports to FOLDER (build/benchmarks) and fails where a ratio is more than 15 % worse. Needs a build; takes an hour or two on two
# cores that do nothing else. Those of the queue need no baseline of their own: benchmarks/queue/run.sh.
source "$(dirname "$0")/../scripts/lib.sh"
reports=${1:-$root/build/benchmarks}
mkdir -p "$reports"
say "fake quantization of a tensor"
"$root/benchmarks/kernels/run.sh" | tee "$reports/kernels.jsonl"
say "training steps"
"$root/benchmarks/step/run.sh" --report "$reports/step.json"
exec "$root/benchmarks/compare.py" --baseline "$root/benchmarks/baseline.json" "$reports/kernels.jsonl" "$reports/step.json"
