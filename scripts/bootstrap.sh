#!/usr/bin/env bash
# Installs what building and running need: Debian packages, a Python environment with ONNX Runtime, and LibTorch from its
# wheel. Everything but the Debian packages goes into the git-ignored .cache folder. Does nothing where all is there.
#   scripts/bootstrap.sh           to build, to test, to train on the CPU
#   scripts/bootstrap.sh --cuda    also the CUDA libraries (1.8 GB to fetch), for a host with an NVIDIA driver
source "$(dirname "$0")/lib.sh"

case "${1:-}" in
  ""|--cuda) ;;
  *) sed -n '4,5s/^# \?//p' "$0" >&2; exit 2 ;;
esac

install_apt_packages "$root/scripts/apt_packages.txt"

# up_to_date STAMP FILE: whether STAMP was written for FILE's present content.
up_to_date() { [ -f "$1" ] && [ "$(cat "$1")" = "$(sha256sum < "$2")" ]; }

requirements=$root/scripts/requirements.txt
if ! up_to_date "$cache/venv/.stamp" "$requirements"; then
  say "making the Python environment (ONNX Runtime, ONNX, NumPy, Pillow, pytest)"
  # The system's Python, so that the environment does not hang on a version manager's.
  system_python=/usr/bin/python3
  [ -x $system_python ] || system_python=python3
  "$system_python" -m venv --clear "$cache/venv"
  "$python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$requirements"
  sha256sum < "$requirements" > "$cache/venv/.stamp"
fi

# In the environment's own folder, so that a new environment gets it anew.
requirements=$root/scripts/requirements-openvino.txt
if ! up_to_date "$cache/venv/.stamp-openvino" "$requirements"; then
  say "adding OpenVINO to the Python environment (59 MB to fetch)"
  "$python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: -r "$requirements"
  sha256sum < "$requirements" > "$cache/venv/.stamp-openvino"
fi

requirements=$root/scripts/requirements-tests.txt
if ! up_to_date "$cache/venv/.stamp-tests" "$requirements"; then
  say "adding what the tests compare with to the Python environment (pycocotools, Shapely)"
  "$python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: -r "$requirements"
  sha256sum < "$requirements" > "$cache/venv/.stamp-tests"
fi

# The libraries do not depend on the Python version; the flags name the one whose sums are pinned.
unpack_wheels() {
  "$python" -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --require-hashes \
    --only-binary=:all: --python-version 3.11 --implementation cp --abi cp311 \
    $(printf -- '--platform manylinux_2_%s_x86_64 ' 28 27 25 18 17 12 5) --platform manylinux2014_x86_64 \
    --target "$2" -r "$1"
}

requirements=$root/scripts/requirements-libtorch.txt
if ! up_to_date "$cache/libtorch/.stamp" "$requirements"; then
  say "unpacking LibTorch (530 MB to fetch, 1.2 GB on disk)"
  rm -rf "$cache/libtorch"
  unpack_wheels "$requirements" "$cache/libtorch"
  sha256sum < "$requirements" > "$cache/libtorch/.stamp"
fi

requirements=$root/scripts/requirements-cuda.txt
if [ "${1:-}" = --cuda ] && ! up_to_date "$cache/libtorch/.stamp-cuda" "$requirements"; then
  say "unpacking the CUDA libraries (1.8 GB to fetch, 3 GB on disk)"
  rm -rf "$cache/cuda"
  unpack_wheels "$requirements" "$cache/cuda"
  # Into LibTorch's tree, where its libraries look for them.
  cp -al "$cache/cuda/nvidia/." "$cache/libtorch/nvidia/"
  rm -rf "$cache/cuda"
  sha256sum < "$requirements" > "$cache/libtorch/.stamp-cuda"
fi
