# Sourced by the scripts beside it: places, and a line for people.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Everything downloaded lies here; set PACTORY_CACHE_DIR to share it between clones.
cache=${PACTORY_CACHE_DIR:-$root/.cache}
build=${PACTORY_BUILD_DIR:-$root/build/release}
python=$cache/venv/bin/python
mkdir -p "$cache"

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# as_root COMMAND...: runs it as root, by sudo for an ordinary user.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else fail "root is needed to run: $*; run it as root once, or install sudo"
  fi
}

# install_apt_packages FILE: installs what is missing of the packages listed in FILE, one a line.
install_apt_packages() {
  command -v apt-get >/dev/null || fail "apt-get not found: install the packages of $1 by hand, on Debian 12"
  local missing=()
  while read -r package; do
    [ -z "$package" ] && continue
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing+=("$package")
  done < "$1"
  [ ${#missing[@]} = 0 ] && return 0
  say "installing ${#missing[@]} Debian packages: ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > "$cache/apt.log" 2>&1 ||
    { tail -n 20 "$cache/apt.log" >&2; fail "apt-get could not install: ${missing[*]} (whole log: $cache/apt.log)"; }
}
