#!/usr/bin/env bash
# Builds the JavaScript example: build.sh [OUTPUT]. Needs Node.js 20 or later with npm; componentize-qjs comes from npm.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../common.sh" javascript "$@"

from_npm
wit
# --sync: plain functions, as the contract has them; --stub-wasi: without WASI, which a filter does not need.
npx --no-install componentize-qjs --wit build/wit --world tag --js tag.js --sync --stub-wasi --output "$out"
done_with
