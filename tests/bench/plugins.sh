#!/usr/bin/env bash
# What plugins cost: first the calls alone (`plugins.rs`), then servers with one and five plugins that do nothing beside
# Postfix with a milter and OpenSMTPD with a filter that do nothing. Takes about five minutes.
#
#   tests/bench/plugins.sh [ARGUMENT ...]   arguments of the harness, as for run.sh; `--calls` ends after the calls
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
(cd "$root" && cargo build --release --locked --package hermetic-tests --example plugins)
"$target/release/examples/plugins"
[ "${1:-}" != --calls ] || exit 0
export IDLE_PLUGIN=$target/bench/idle-plugin.wasm
mkdir -p "$target/bench"
"$target/release/examples/plugins" "$IDLE_PLUGIN"
export PEERS=${PEERS:-hermetic-discard,hermetic-plugins-1,hermetic-plugins-5,postfix-discard,postfix-milter,opensmtpd-discard,opensmtpd-filter}
export BASE=${BASE:-hermetic-discard}
exec "$root/tests/bench/run.sh" --measures M2,M4 --reps 3 --secs 2 "$@"
