#!/usr/bin/env bash
# Times fake quantization, forwards and backwards, beside a copy and LibTorch's own forms: benchmarks/kernels/run.sh [ROUNDS]. A line of JSON for
# one thread and for two. Needs a build (scripts/build.sh).
source "$(dirname "$0")/../../scripts/lib.sh"
ninja -C "$build" fake_quantize_benchmark > /dev/null
for threads in 1 2; do "$build/bin/fake_quantize_benchmark" "$threads" "${1:-7}"; done
