#!/usr/bin/env bash
# Builds the module and the playground, and tests them in Node and in Chromium.
#
#   core/js/tests/run.sh [TEST…]      TEST: files of this folder; all of them
#
# Needs Rust, Node 20, npm and Chromium. What cannot be tested here is skipped with its reason, and fails where CI=true.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
cd "$here"
if [ ! -d node_modules/playwright-core ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  for try in 1 2 3; do npm ci --silent --no-audit --no-fund --ignore-scripts && break; [ "$try" -lt 3 ]; sleep $((try * 10)); done
fi
export PLAYGROUND_SITE=${PLAYGROUND_SITE:-$root/target/playground/site}
for try in 1 2 3; do ../build.sh "$PLAYGROUND_SITE" --plugins && break; [ "$try" -lt 3 ]; sleep $((try * 10)); done
if [ $# -eq 0 ]; then set -- *.test.mjs; fi
exec node --test --test-concurrency=1 --test-reporter=spec "$@"
