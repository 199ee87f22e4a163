#!/usr/bin/env bash
# Installs one part of Pactory, as built by scripts/build.sh, below a prefix. Run it again to upgrade.
#   deploy/install.sh server|worker|client [PREFIX]    PREFIX: default /opt/pactory
# What the programs need from Debian is listed in deploy/packages/; on this host it is installed where it is missing.
#   PACTORY_CUDA=1    worker: also the CUDA libraries (3 GB), for a host with an NVIDIA driver
source "$(dirname "$0")/../scripts/lib.sh"

part=${1:-}
prefix=${2:-/opt/pactory}
case $part in
  server|worker|client) ;;
  *) sed -n '2,5s/^# \?//p' "$0" >&2; exit 2 ;;
esac
[ -x "$build/bin/pactory-server" ] || fail "nothing is built in $build; run scripts/build.sh first"

install_apt_packages "$root/deploy/packages/$part.txt"
if [ "$part" != client ] && [ "$(id -u)" = 0 ] && ! id pactory >/dev/null 2>&1; then
  say "making the user pactory, which the units run as"
  useradd --system --home-dir /var/lib/pactory --shell /usr/sbin/nologin pactory
fi
cmake --install "$build" --prefix "$prefix" --component "$part" --strip > "$cache/install.log" 2>&1 ||
  { tail -n 20 "$cache/install.log" >&2; fail "cmake --install failed (whole log: $cache/install.log)"; }

if [ "$part" = worker ]; then
  say "making the Python environment of the check in ONNX Runtime"
  python3 -m venv --clear "$prefix/venv"
  "$prefix/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
    -r "$prefix/share/pactory/requirements.txt"
  if [ "${PACTORY_CUDA:-0}" = 1 ]; then
    say "installing the CUDA libraries"
    "$root/scripts/bootstrap.sh" --cuda
    cmake --install "$build" --prefix "$prefix" --component cuda >> "$cache/install.log" 2>&1 ||
      { tail -n 20 "$cache/install.log" >&2; fail "cmake --install failed (whole log: $cache/install.log)"; }
  fi
fi
say "installed: $(ls -d "$prefix"/bin/* | tr '\n' ' ')"
