#!/usr/bin/env bash
# Builds the Python example: build.sh [OUTPUT]. Needs Python 3.10 or later with venv and pip; componentize-py comes from PyPI.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../common.sh" python "$@"

from_pypi
wit
# -s: without WASI, which a filter does not need.
build/venv/bin/componentize-py --quiet --wit-path build/wit --world tag componentize --stub-wasi --python-path . tag --output "$out"
done_with
