#!/usr/bin/env bash
# Brings Chromium, by which the playground is tested, to a Debian machine. Needs root. Node and npm have to be there.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
for program in node npm; do
  command -v $program >/dev/null || { echo "install.sh: $program is missing (Node 20 or later is needed)" >&2; exit 1; }
done
if [ ! -x /usr/bin/chromium ]; then
  # Registries have bad minutes: a few tries, each after a longer wait.
  for try in 1 2 3 4; do
    apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 update -q=2 &&
      apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 install -y -q=2 --no-install-recommends chromium fonts-dejavu-core >/dev/null && break
    [ "$try" -lt 4 ]
    sleep $((try * 5))
  done
fi
/usr/bin/chromium --version
