#!/bin/bash
# A private Postfix that sends everything on to SINK, a port of 127.0.0.1. Nothing is tuned but what would keep 50 clients of one
# address out, and the connections to one destination, which are as many as Hermetic opens.
start() {
  local etc=$RUN/etc
  mkdir -p "$etc" "$RUN/spool" "$RUN/data"
  chown postfix "$RUN/data"
  cat >"$etc/main.cf" <<X
compatibility_level = 3.6
queue_directory = $RUN/spool
data_directory = $RUN/data
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = bench.example.test
mydestination =
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:$SINK
smtp_host_lookup = native
message_size_limit = $SIZE
alias_maps =
alias_database =
local_recipient_maps =
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_recipient_restrictions = permit_mynetworks, reject
default_process_limit = 200
in_flow_delay = 0
X
  cat >"$etc/master.cf" <<X
127.0.0.1:$PORT inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
X
  postfix -c "$etc" start >"$RUN/log" 2>&1
}
stop() { postfix -c "$RUN/etc" abort >>"$RUN/log" 2>&1; }
queue() { for folder in maildrop incoming active deferred; do echo "$RUN/spool/$folder"; done; }
mail() { echo "$RUN/sink"; }
idlemax() { echo 1000; }
version() { postconf -d -h mail_version; }
. "$(dirname "$0")/../lib/common.sh"; $verb
