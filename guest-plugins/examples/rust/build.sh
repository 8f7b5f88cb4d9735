#!/usr/bin/env bash
# Builds the Rust example: build.sh [OUTPUT]. Needs rustup.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(realpath -m "${1:-$here/../../out/tag-rust.wasm}")
OUT=$(dirname "$out") "$here/../../build.sh" tag-rust
[ "$(basename "$out")" = tag-rust.wasm ] || mv "$(dirname "$out")/tag-rust.wasm" "$out"
