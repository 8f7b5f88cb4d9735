#!/usr/bin/env bash
# Builds the TypeScript example: build.sh [OUTPUT]. Needs Node.js 20 or later with npm; typescript and componentize-qjs come from npm.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../common.sh" typescript "$@"

from_npm
wit
npx --no-install tsc --project tsconfig.json
# --sync: plain functions, as the contract has them; --stub-wasi: without WASI, which a filter does not need.
npx --no-install componentize-qjs --wit build/wit --world tag --js build/tag.js --sync --stub-wasi --output "$out"
done_with
