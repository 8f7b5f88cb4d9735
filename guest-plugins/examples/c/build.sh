#!/usr/bin/env bash
# Builds the C example: build.sh [OUTPUT]. Needs rustup for the generator of bindings, and Python 3 with venv and pip: a C
# compiler for WebAssembly (zig's clang, with its libc) comes from PyPI.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../common.sh" c "$@"

from_pypi
wit
bindgen c build/wit build/bindings
# A library that is called (a reactor), not a program that runs once.
build/venv/bin/python -m ziglang cc -target wasm32-wasi -mexec-model=reactor -Oz -Wall -Wextra -Werror \
  -I build/bindings -Wl,--strip-all -Wl,-z,stack-size=65536 \
  filter.c build/bindings/tag.c build/bindings/tag_component_type.o -o build/tag.wasm
bindgen component build/tag.wasm build/wit "$out"
done_with
