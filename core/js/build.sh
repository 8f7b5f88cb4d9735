#!/usr/bin/env bash
# Builds the ES module and the playground around it as static files, for any web server or for Node.
#
#   core/js/build.sh OUT              hermetic.js, session-file.js, the engine, and the playground's page
#   core/js/build.sh OUT --plugins    and OUT/jco, with which the page runs plugin components (about 4 MB, from npm)
#
# Needs Rust with the target wasm32-unknown-unknown, and for --plugins npm. HERMETIC_SEALED: the target folder (target/sealed of
# the repository; `cargo build` of the server uses the same, so neither waits for what the other has built).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
out=${1:-}
case "$out" in '' | -*) echo "build.sh: a folder is expected: core/js/build.sh OUT [--plugins]" >&2; exit 2 ;; esac
case "${2:-}" in '' | --plugins) ;; *) echo "build.sh: $2 is not known; --plugins is" >&2; exit 2 ;; esac
mkdir -p "$out"
out=$(cd "$out" && pwd)
sealed=${HERMETIC_SEALED:-$root/target/sealed}
cargo=${CARGO:-cargo}
target=wasm32-unknown-unknown

# What is set for another build (flags, wrappers such as clippy's, profiles, targets) is not meant for this one.
for name in $(compgen -e); do
  case $name in RUSTFLAGS | RUSTC_WRAPPER | RUSTC_WORKSPACE_WRAPPER | CARGO_BUILD_* | CARGO_TARGET_* | CARGO_PROFILE_*) unset "$name" ;; esac
done

if [ ! -d "$("${RUSTC:-rustc}" --print target-libdir --target $target)" ]; then
  rustup target add $target || { echo "build.sh: please type: rustup target add $target" >&2; exit 1; }
fi

# No path of this machine is left in a message of a panic, so the same sources give the same octets everywhere.
sysroot=$("${RUSTC:-rustc}" --print sysroot)
s=$'\x1f'
export CARGO_ENCODED_RUSTFLAGS="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo${s}--remap-path-prefix=$sysroot=/rust${s}--remap-path-prefix=$root=/hermetic"
"$cargo" rustc --quiet --locked --target $target --profile browser --package hermetic-js \
  --manifest-path "$root/Cargo.toml" --target-dir "$sealed" --lib --crate-type cdylib
export CARGO_ENCODED_RUSTFLAGS=
"$cargo" build --quiet --locked --manifest-path "$here/bindgen/Cargo.toml" --target-dir "$sealed"
"$sealed/debug/hermetic-bindgen" "$sealed/$target/browser/hermetic_js.wasm" "$out"
cp "$here"/module/* "$here"/playground/* "$out"

[ "${2:-}" = --plugins ] || exit 0
# jco, by which a component runs in a browser. Only what the page needs of it is kept, with its licence.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm install --silent --no-audit --no-fund --no-package-lock --ignore-scripts --prefix . @bytecodealliance/jco-transpile@0.15.0)
jco=$work/node_modules/@bytecodealliance/jco-transpile
mkdir -p "$out/jco"
cp "$jco"/LICENSE "$jco"/vendor/js-component-bindgen-component.core*.wasm "$out/jco"
# It wants WASI by names that only Node resolves; ours is beside it, and gives it nothing.
sed "s#'@bytecodealliance/preview2-shim/[a-z]*'#'../no-wasi.js'#" "$jco/vendor/js-component-bindgen-component.js" >"$out/jco/jco.js"
