#!/usr/bin/env bash
# Builds Rust plugins as WebAssembly components: guest-plugins/build.sh [NAME...], by default all. Needs rustup, and nothing
# else. The components go to guest-plugins/out/NAME.wasm (or to $OUT).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here"
out=${OUT:-$here/out}
target=wasm32-unknown-unknown

if [ ! -d "$(rustc --print target-libdir --target "$target")" ]; then
  rustup target add "$target" || { echo "Please install Rust's standard library for $target." >&2; exit 1; }
fi

# The linker that encodes a component. It comes with the toolchain.
host=$(rustc -vV | sed -n 's/^host: //p')
linker=$(rustc --print sysroot)/lib/rustlib/$host/bin/wasm-component-ld
case $host in *windows*) linker=$linker.exe ;; esac
[ -x "$linker" ] || { echo "This Rust has no $linker; the toolchains of rustup have it." >&2; exit 1; }
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$linker

# A stack that suits one call instead of a program; it lies below the data, so that an overflow traps. And no path of the
# machine that builds: two of them build the same octets.
unset RUSTFLAGS
sep=$'\x1f'
flags=-Clink-arg=-zstack-size=131072
cargo fetch --quiet --locked
for registry in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
  flags+="${sep}--remap-path-prefix=$registry=/crates"
done
flags+="${sep}--remap-path-prefix=$here=/plugins"
flags+="${sep}--remap-path-prefix=$(rustc --print sysroot)=/rust"
export CARGO_ENCODED_RUSTFLAGS=$flags

if [ $# -gt 0 ]; then
  names=("$@")
else
  # Every member that is a plugin.
  mapfile -t names < <(sed -n '/^members = \[/,/\]/p' Cargo.toml | grep -o '"[^"]*"' | tr -d '"' | grep -vx -e sdk -e bindgen |
    sed 's|^examples/rust$|tag-rust|')
fi

packages=()
for name in "${names[@]}"; do packages+=(--package "$name"); done
cargo build --locked --target "$target" --profile plugin "${packages[@]}"

mkdir -p "$out"
built=${CARGO_TARGET_DIR:-$here/target}/$target/plugin
for name in "${names[@]}"; do
  cp "$built/${name//-/_}.wasm" "$out/$name.wasm"
  printf '%s: %s octets\n' "$out/$name.wasm" "$(wc -c < "$out/$name.wasm")"
done
