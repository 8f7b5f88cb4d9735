#!/usr/bin/env bash
# Runs a black-box acceptance suite against this server.
#
#   tests/acceptance.sh [SUITE [ARGUMENT ...]]    SUITE: a folder with run.sh, which gets the arguments; default ../shared/acceptance
#
# Builds the server, starts it on free loopback ports in an empty folder with what the suite's variables promise (a user,
# limits, a Maildir), runs the suite, stops the server, and ends with the suite's exit code.
#
#   PROFILE=release      another cargo profile (default: dev)
#   HERMETIC_BIN=FILE    this binary instead of a build
#   PYTHON=FILE          an interpreter with pytest and pytest-timeout; by default a virtual environment below target/
#   KEEP=1               leave the folder with log, configuration and mail, and say where it is
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
suite=${1:-$root/../shared/acceptance}
[ $# -eq 0 ] || shift
[ -x "$suite/run.sh" ] || [ -f "$suite/run.sh" ] || { echo "acceptance.sh: no run.sh in $suite" >&2; exit 66; }
suite=$(cd "$suite" && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
say() { echo "acceptance.sh: $*" >&2; }

# --- the server, and what the suite needs ---
profile=${PROFILE:-dev}
hermetic=${HERMETIC_BIN:-}
if [ -z "$hermetic" ]; then
  (cd "$root" && cargo build --quiet --locked --package hermetic --profile "$profile")
  hermetic=$target/$([ "$profile" = dev ] && echo debug || echo "$profile")/hermetic
fi

clients=${HERMETIC_CLIENTS:-$target/clients}
if [ -z "${PYTHON:-}" ]; then
  PYTHON=$clients/venv/bin/python
  if ! "$PYTHON" -c 'import pytest, pytest_timeout' 2>/dev/null; then
    say "making a virtual environment with pytest"
    python3 -m venv "$clients/venv"
    for try in 1 2 3; do
      "$clients/venv/bin/pip" install --quiet --disable-pip-version-check pytest pytest-timeout && break
      sleep $((try * 5))
    done
  fi
fi
export PYTHON
if [ -d "$clients/node/node_modules/nodemailer" ]; then export NODE_DIR=$clients/node; fi

# The suite's folder may be read-only: its lettre client is built from a copy.
lettre=$target/acceptance/lettre
if [ -z "${LETTRE_BIN:-}" ] && [ -f "$suite/lettre/Cargo.toml" ]; then
  mkdir -p "$lettre"
  cp -R "$suite/lettre/." "$lettre/"
  chmod -R u+w "$lettre"
  # A workspace of its own, although it lies below ours.
  grep -q '^\[workspace\]' "$lettre/Cargo.toml" || printf '\n[workspace]\n' >>"$lettre/Cargo.toml"
  if (cd "$lettre" && CARGO_TARGET_DIR=$lettre/target timeout 900 cargo build --quiet) >"$lettre/build.log" 2>&1; then
    export LETTRE_BIN=$lettre/target/debug/lettre-client
  else
    say "the lettre client does not build; its tests are skipped ($lettre/build.log)"
  fi
fi

# --- a folder, ports, a configuration ---
run=$(mktemp -d "${TMPDIR:-/tmp}/hermetic-acceptance.XXXXXX")
pid=
finish() {
  local code=$?
  trap - EXIT INT TERM
  if [ -n "$pid" ]; then
    kill -TERM "$pid" 2>/dev/null || true
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  fi
  if [ -n "${KEEP:-}" ]; then say "kept: $run"; else rm -rf "$run"; fi
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

read -r mx submission submissions < <(python3 - <<'PY'
import random, socket
free = []
while len(free) < 3:
    port = random.randrange(20000, 32000)
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", port))
            free.append(port)
        except OSError:
            pass
print(*free)
PY
)

# Its clients check no issuer, but one checks the name, and they connect to 127.0.0.1.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=mail.local.test \
  -addext 'subjectAltName = DNS:mail.local.test, IP:127.0.0.1' -keyout "$run/key.pem" -out "$run/certificate.pem" 2>/dev/null

idle=15
cat >"$run/hermetic.toml" <<X
name = "mail.local.test"
data = "$run/data"

[[listener]]
kind = "mx"
address = "127.0.0.1:$mx"
strict-hello = true

[[listener]]
kind = "submission"
address = "127.0.0.1:$submission"

[[listener]]
kind = "submissions"
address = "127.0.0.1:$submissions"

[[domain]]
name = "local.test"
mailboxes = ["test"]
aliases = { postmaster = "test" }
maildir = "mail/{domain}/{local}"

# It logs in as test and sends as alice@example.org, which must therefore be an address of test's.
[[domain]]
name = "example.org"
mailboxes = ["test"]
aliases = { postmaster = "test", alice = "test" }

[tls]
certificate = "$run/certificate.pem"
key = "$run/key.pem"

# The suite opens 200 sessions at once and some 10,000 in all, from one address.
[limits]
message-size = 2000000
recipients = 1000
sessions-per-client = 5000
command-timeout = $idle
data-timeout = $idle

[outbound]
hold = true
[observe]
level = "info"
X

printf 'secret\n' | "$hermetic" user add test --config "$run/hermetic.toml"
"$hermetic" serve --config "$run/hermetic.toml" >"$run/log" 2>&1 &
pid=$!
answers() { python3 -c 'import socket,sys; s=socket.create_connection(("127.0.0.1",int(sys.argv[1])),5); s.settimeout(5); sys.exit(s.recv(3)!=b"220")' "$mx" 2>/dev/null; }
for _ in $(seq 600); do
  answers && break
  kill -0 "$pid" 2>/dev/null || { say "the server ended at start:"; tail -n 50 "$run/log" >&2; exit 70; }
  sleep 0.1
done
answers || { say "no greeting within a minute:"; tail -n 50 "$run/log" >&2; exit 70; }

export SMTP_HOST=127.0.0.1 SMTP_PORT=$mx SUBMISSION_PORT=$submission SMTPS_PORT=$submissions
export SMTP_USER=test SMTP_PASS=secret
export LOCAL_DOMAIN=local.test VALID_USER=test UNKNOWN_USER=nosuchuser FOREIGN_DOMAIN=example.net
export MAILDIR=$run/data/mail/local.test/test
export SIZE_LIMIT=2000000 SERVER_PID=$pid RCPT_LIMIT=1000 MULTI_RCPT_FMT='test+{n}@local.test' IDLE_TIMEOUT=$idle
export BB_RESULTS=${BB_RESULTS:-$target/acceptance/results.json}
mkdir -p "$(dirname "$BB_RESULTS")"

code=0
bash "$suite/run.sh" "$@" || code=$?
if ! kill -0 "$pid" 2>/dev/null; then
  say "the server did not survive the suite:"
  tail -n 50 "$run/log" >&2
  [ "$code" -ne 0 ] || code=70
fi
exit "$code"
