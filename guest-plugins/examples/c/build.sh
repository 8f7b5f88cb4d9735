#!/usr/bin/env bash
# Builds the C example: build.sh [OUTPUT]. Needs rustup for the generator of bindings, and Python 3 with venv and pip: a C
# compiler for WebAssembly (zig's clang, with its libc) and wasm-tools come from PyPI.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(realpath -m "${1:-$here/../../out/tag-c.wasm}")
cd "$here"
mkdir -p build "$(dirname "$out")"

if [ ! -x build/venv/bin/wasm-tools ]; then
  python3 -m venv build/venv
  build/venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements.txt
fi

# The world of this plugin, and the package that it takes from: the folder wit/plugin, or $HERMETIC_WIT.
rm -rf build/wit && mkdir -p build/wit/deps
cp wit/*.wit build/wit/
cp -r "${HERMETIC_WIT:-../../../wit/plugin}" build/wit/deps/hermetic-plugin

cargo run --quiet --locked --manifest-path ../../Cargo.toml --package bindgen -- c build/wit build/bindings

# A library that is called (a reactor), not a program that runs once.
build/venv/bin/python -m ziglang cc -target wasm32-wasi -mexec-model=reactor -Oz -Wall -Wextra -Werror \
  -I build/bindings -Wl,--strip-all -Wl,-z,stack-size=65536 \
  filter.c build/bindings/tag.c build/bindings/tag_component_type.o -o build/tag.wasm
build/venv/bin/wasm-tools component new build/tag.wasm --output "$out"
printf '%s: %s octets\n' "$out" "$(wc -c < "$out")"
