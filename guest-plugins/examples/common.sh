# What the builds of the examples have in common: `. ../common.sh LANGUAGE [OUTPUT]` in build.sh of each, after it has set $here to
# the folder of the example. Bash, with -euo pipefail. Out: $out, where the component goes.

language=${1:?the language}
out=$(realpath -m "${2:-$here/../../out/tag-$language.wasm}")
plugins=$(realpath -m "$here/../..")
cd "$here"
mkdir -p build "$(dirname "$out")"

# What a registry does not give now it may give in a moment.
again() {
  for wait in 5 20 0; do
    "$@" && return
    [ "$wait" = 0 ] || { echo "Once more in $wait s: $*" >&2; sleep "$wait"; }
  done
  return 1
}

# The packages of requirements.txt, in build/venv; again when the file changes.
from_pypi() {
  cmp --silent requirements.txt build/venv/requirements.txt && return
  rm -rf build/venv
  python3 -m venv build/venv
  again build/venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements.txt
  cp requirements.txt build/venv/
}

# The packages of package-lock.json, in node_modules; again when the file changes.
from_npm() {
  cmp --silent package-lock.json node_modules/.installed && return
  again npm ci --silent --no-audit --no-fund
  cp package-lock.json node_modules/.installed
}

# build/wit: the world of this plugin, and the package that it takes from: the folder wit/plugin, or $HERMETIC_WIT.
wit() {
  rm -rf build/wit && mkdir -p build/wit/deps
  cp wit/*.wit build/wit/
  cp -r "${HERMETIC_WIT:-$plugins/../wit/plugin}" build/wit/deps/hermetic-plugin
}

# The generator of bindings, and what makes a component of a module (guest-plugins/bindgen).
bindgen() {
  cargo run --quiet --locked --manifest-path "$plugins/Cargo.toml" --package bindgen -- "$@"
}

done_with() {
  printf '%s: %s octets\n' "$out" "$(wc -c < "$out")"
}
