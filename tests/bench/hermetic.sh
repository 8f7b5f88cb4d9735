# The server as a peer of the benchmark harness; sourced by the peers beside it. VARIANT: hold, maildir, discard, or relay: all is
# sent on to SINK, a port of 127.0.0.1.
# NATIVE=1: the same server without its sandbox. PLUGINS=5: every recipient is put to a chain of five that do nothing;
# IDLE_PLUGIN is their component. RECORD=0.01: all sessions are held in memory, and that part of them becomes files.
# HERMETIC: the binary. The harness gives PORT, and RUN, an empty folder.
start() {
  mkdir -p "$RUN/nothing"
  cat >"$RUN/hermetic.toml" <<X
name = "bench.example.test"
data = "$RUN/data"
[[listener]]
kind = "mx"
address = "127.0.0.1:$PORT"
discard = $([ "$VARIANT" = discard ] && echo true || echo false)
$([ "$VARIANT" = relay ] && printf '[relay]\nnetworks = ["127.0.0.0/8"]\n[[destination]]\ndomains = ["*"]\nhosts = ["127.0.0.1:%s"]\n' "$SINK" ||
  printf '[[domain]]\nname = "%s"\nmailboxes = ["*"]\nmaildir = "%s/mail/{local}"\n[outbound]\nhold = true\n' "$DOMAIN" "$RUN")
[limits]
message-size = $SIZE
recipients = 2000
sessions = 12000
sessions-per-client = 12000
idle-commands = 100000
command-timeout = 600
[queue]
hold = $([ "$VARIANT" = hold ] && echo true || echo false)
[observe]
level = "warn"
X
  [ -z "${RECORD:-}" ] || printf '[record]\nkeep = ["on-error", "sampled"]\nshare = %s\n' "$RECORD" >>"$RUN/hermetic.toml"
  for number in $(seq "${PLUGINS:-0}"); do
    printf '[[plugin]]\nname = "idle%s"\nfile = "%s"\n' "$number" "$IDLE_PLUGIN"
  done >>"$RUN/hermetic.toml"
  [ "${PLUGINS:-0}" = 0 ] || printf '[[route]]\nrecipients = ["*"]\nplugins = [%s]\n' \
    "$(seq -s, -f '"idle%g"' "$PLUGINS")" >>"$RUN/hermetic.toml"
  # A warm start: the engine was compiled when the server was first started.
  mkdir -p -m 700 "$HERE/cache"
  mkdir -p -m 700 "$RUN/data" && cp -a "$HERE/cache" "$RUN/data/engine"
  [ -z "${NATIVE:-}" ] || exec "$HERMETIC_NATIVE" "$RUN/hermetic.toml"
  if ls "$HERE"/cache/*.cwasm >/dev/null 2>&1; then exec "$HERMETIC" serve --config "$RUN/hermetic.toml"; fi
  "$HERMETIC" serve --config "$RUN/hermetic.toml" &
  until ls "$RUN"/data/engine/*.cwasm >/dev/null 2>&1; do sleep 0.05; done
  cp -a "$RUN"/data/engine/*.cwasm "$HERE/cache/"
  wait
}
# No folder of files is its queue: measure.py counts the Maildir instead. An empty one has the harness print "until delivered".
queue() { case $VARIANT in maildir | relay) echo "$RUN/nothing" ;; esac; }
# One recipient is b, of many each has a number before it.
mail() {
  case $VARIANT in
    maildir) printf "$RUN/mail/%s/new\n" b $(seq -f '%gb' 50) ;;
    relay) echo "$RUN/sink" ;;
  esac
}
version() { "$HERMETIC" --version; }
. "$(dirname "$0")/../lib/common.sh"; $verb
