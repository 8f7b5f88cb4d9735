#!/usr/bin/env bash
# Builds the JavaScript example: build.sh [OUTPUT]. Needs Node.js 20 or later with npm; componentize-qjs comes from npm.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(realpath -m "${1:-$here/../../out/tag-javascript.wasm}")
cd "$here"
mkdir -p build "$(dirname "$out")"

[ -x node_modules/.bin/componentize-qjs ] || npm ci --silent --no-audit --no-fund

# The world of this plugin, and the package that it takes from: the folder wit/plugin, or $HERMETIC_WIT.
rm -rf build/wit && mkdir -p build/wit/deps
cp wit/*.wit build/wit/
cp -r "${HERMETIC_WIT:-../../../wit/plugin}" build/wit/deps/hermetic-plugin

# --sync: plain functions, as the contract has them; --stub-wasi: without WASI, which a filter does not need.
npx --no-install componentize-qjs --wit build/wit --world tag --js tag.js --sync --stub-wasi --output "$out"
printf '%s: %s octets\n' "$out" "$(wc -c < "$out")"
