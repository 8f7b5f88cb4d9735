#!/usr/bin/env bash
# Tests the standalone server under a stock runtime, which is installed first where it is missing: core/standalone/README.md.
#
#   core/standalone/test.sh            all of it
#   core/standalone/test.sh install    only what is heavy: the target, the runtime, the component
#
# The tests' mail clients are those of tests/clients/install.sh.
#
#   HERMETIC_WASMTIME=FILE   another wasmtime than target/wasmtime/bin/wasmtime
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
step() { printf '\n== %s (%s s)\n' "$*" "$SECONDS"; }

# The guide's own commands, so that they stay true.
block() { awk -v name="$1" '$0 == "```sh " name { on = 1; next } /^```$/ { on = 0 } on' core/standalone/README.md; }

default=$PWD/target/wasmtime/bin/wasmtime
export HERMETIC_WASMTIME=${HERMETIC_WASMTIME:-$default}
if [ ! -x "$HERMETIC_WASMTIME" ]; then
  [ "$HERMETIC_WASMTIME" = "$default" ] || { echo "test.sh: there is no program $HERMETIC_WASMTIME" >&2; exit 66; }
  step "install wasmtime"
  bash -euo pipefail -c "$(block install)"
fi
[ -d "$(rustc --print target-libdir --target wasm32-wasip2)" ] || rustup target add wasm32-wasip2

step "build"
bash -euo pipefail -c "$(block build)"
[ "${1:-}" != install ] || exit 0

step "unit tests and lints"
manifest=core/standalone/Cargo.toml
cargo fmt --manifest-path "$manifest" --check
cargo clippy --locked --manifest-path "$manifest" --all-targets -- -D warnings
cargo test --locked --manifest-path "$manifest"

step "tests"
# As .ci/run builds them, so that nothing is compiled twice.
export HERMETIC_COLUMNS=${HERMETIC_COLUMNS:-$PWD/target/columns} HERMETIC_GUIDES=1
export RUSTC_WORKSPACE_WRAPPER=clippy-driver CLIPPY_ARGS=-Dwarnings__CLIPPY_HACKERY__
timeout 2400 cargo test --locked --workspace --test standalone -- --nocapture

step "what it runs of the transcripts"
cat "$HERMETIC_COLUMNS"/standalone-*.json
