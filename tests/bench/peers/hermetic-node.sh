#!/bin/bash
# The server of core/node, one process; each message goes through a handler that lets it go. HERMETIC_NODE: the built package.
start() { exec node "$HERMETIC_NODE/bench/server.js" "$PORT"; }
version() { sed -n 's/.*"version": "\(.*\)".*/\1/p' "$HERMETIC_NODE/package.json"; }
. "$(dirname "$0")/../lib/common.sh"; $verb
