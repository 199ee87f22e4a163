#!/usr/bin/env bash
# Runs `buf lint` over proto/, with buf from npm in the cache folder.
source "$(dirname "$0")/lib.sh"
command -v npm >/dev/null || fail "npm not found: install Debian's npm package, or skip this lint"
if [ ! -x "$cache/buf/node_modules/.bin/buf" ]; then
  say "installing buf"
  mkdir -p "$cache/buf"
  npm install --silent --no-audit --no-fund --prefix "$cache/buf" @bufbuild/buf@1.75.0
fi
cd "$root/proto" && "$cache/buf/node_modules/.bin/buf" lint
