#!/bin/bash
# The Python package, one process, asyncio's standard loop; each message is held in memory, then dropped. Beside aiosmtpd.
start() { exec "${HERMETIC_PYTHON:-python3}" "$HERMETIC_SOURCE/core/python/bench/sink.py" hermetic "$PORT"; }
version() { "${HERMETIC_PYTHON:-python3}" -c 'import importlib.metadata as m, sys; print(m.version("hermetic-smtp"), "python", sys.version.split()[0])'; }
. "$(dirname "$0")/../lib/common.sh"; $verb
