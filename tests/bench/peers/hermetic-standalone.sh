#!/bin/bash
# The core as a WASI 0.3 command under a stock runtime; nothing is stored, as in smtp-sink. STANDALONE: the component, WASMTIME: the
# runtime; core/standalone/test.sh makes both.
start() {
  exec "$WASMTIME" run -S inherit-network "$STANDALONE" "127.0.0.1:$PORT" --domain "$DOMAIN" --quiet \
    --sessions 12000 --sessions-per-client 12000 --limit message-size=$SIZE --limit recipients=2000 --limit idle-commands=100000
}
version() { "$WASMTIME" --version; }
. "$(dirname "$0")/../lib/common.sh"; $verb
