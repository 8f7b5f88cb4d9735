#!/usr/bin/env bash
# Builds the Python example: build.sh [OUTPUT]. Needs Python 3.10 or later with venv and pip; componentize-py comes from PyPI.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(realpath -m "${1:-$here/../../out/tag-python.wasm}")
cd "$here"
mkdir -p build "$(dirname "$out")"

if [ ! -x build/venv/bin/componentize-py ]; then
  python3 -m venv build/venv
  build/venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements.txt
fi

# The world of this plugin, and the package that it takes from: the folder wit/plugin, or $HERMETIC_WIT.
rm -rf build/wit && mkdir -p build/wit/deps
cp wit/*.wit build/wit/
cp -r "${HERMETIC_WIT:-../../../wit/plugin}" build/wit/deps/hermetic-plugin

# -s: without WASI, which a filter does not need.
build/venv/bin/componentize-py --quiet --wit-path build/wit --world tag componentize --stub-wasi --python-path . tag --output "$out"
printf '%s: %s octets\n' "$out" "$(wc -c < "$out")"
