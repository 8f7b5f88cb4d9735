#!/usr/bin/env bash
# Measures the server beside its peers in one run, with a harness that lies outside of this repository.
#
#   tests/bench/run.sh [ARGUMENT ...]       arguments of the harness's bench.py, such as --reps 5 --measures M1,M2
#
#   BENCH_DIR=FOLDER    the harness (default: ../shared/bench beside the repository); it is copied, not changed
#   HERMETIC=FILE       the binary to measure, HERMETIC_NATIVE=FILE the one without a sandbox (default: release builds)
#   STANDALONE=FILE     the component for the peer hermetic-standalone, WASMTIME=FILE its runtime (default: as
#                       core/standalone/test.sh install makes them)
#
# Debian 12, root: the harness installs its peers at the first run. Nothing else should work on the machine meanwhile.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
from=${BENCH_DIR:-$root/../shared/bench}
[ -f "$from/bench.py" ] || { echo "run.sh: no bench.py in $from; set BENCH_DIR" >&2; exit 66; }
target=${CARGO_TARGET_DIR:-$root/target}
harness=$target/bench/harness
mkdir -p "$harness"

if [ -z "${HERMETIC:-}" ]; then
  (cd "$root" && cargo build --release --locked --package hermetic --package hermetic-tests --bin hermetic --bin hermetic-native)
  HERMETIC=$target/release/hermetic
fi
# For peers that are run from the source.
export HERMETIC_SOURCE=$root
export STANDALONE=${STANDALONE:-$root/core/standalone/target/wasm32-wasip2/release/hermetic_standalone.wasm}
export WASMTIME=${WASMTIME:-$target/wasmtime/bin/wasmtime}
export HERMETIC HERMETIC_NATIVE=${HERMETIC_NATIVE:-$target/release/hermetic-native}
export HERMETIC_NODE=${HERMETIC_NODE:-$root/core/node}

cp -R "$from/." "$harness/"
chmod -R u+w "$harness"
# Its crate is none of our workspace, below whose folder it lies.
grep -q '^\[workspace\]' "$harness/rust/Cargo.toml" || printf '\n[workspace]\n' >>"$harness/rust/Cargo.toml"
cp "$root"/tests/bench/peers/*.sh "$harness/peers/"
cp "$root/tests/bench/hermetic.sh" "$harness/lib/"
[ -x "$harness/c/probe" ] && [ -x "$harness/root/usr/sbin/exim4" ] || (cd "$harness" && ./setup.sh)

peers=${PEERS:-hermetic-hold,hermetic-maildir,hermetic-discard,hermetic-native,postfix-hold,postfix-maildir,smtp-sink}
exec python3 "$root/tests/bench/measure.py" "$harness" --peers "$peers" --base "${BASE:-postfix-hold}" \
  --measures M1,M2,M3,M4,M6,M8 --out "$target/bench/results.json" "$@"
