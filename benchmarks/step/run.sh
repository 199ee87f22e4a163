#!/usr/bin/env bash
# Times training steps beside those of PyTorch's and Paddle's libraries: benchmarks/step/run.sh [--only NET] [--report FILE] [--help].
# Needs a build (scripts/build.sh); fetches the peers from PyPI (6 GB on disk). Takes an hour or two on two cores; --only and --threads make it less.
source "$(dirname "$0")/../../scripts/lib.sh"
here=$root/benchmarks/step
for peer in torch paddle; do
  requirements=$here/requirements-$peer.txt
  if [ "$(cat "$cache/step-$peer/.stamp" 2>/dev/null)" != "$(sha256sum < "$requirements")" ]; then
    say "making the Python environment of the step benchmark: $peer"
    /usr/bin/python3 -m venv --clear "$cache/step-$peer"
    "$cache/step-$peer/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"
    sha256sum < "$requirements" > "$cache/step-$peer/.stamp"
  fi
done
[ -e "$cache/step-nets/resnet18.onnx" ] || "$cache/step-torch/bin/python" "$here/nets.py" --out "$cache/step-nets"
exec "$cache/step-torch/bin/python" "$here/step_benchmark.py" --trainer "$build/bin/pactory-trainer" --nets "$cache/step-nets" \
  --torch-python "$cache/step-torch/bin/python" --paddle-python "$cache/step-paddle/bin/python" "$@"
