#!/usr/bin/env bash
# A private Postfix: its client, smtp(8) or lmtp(8), and what FOLDER/services adds. Own configuration, queue and ports;
# nothing of /etc/postfix is read. Needs root, as Postfix does.
#
#   postfix.sh start FOLDER PORT [PARAMETER=VALUE ...]   takes mail on 127.0.0.1:PORT; the parameters say where it goes
#   postfix.sh stop FOLDER
#   postfix.sh queue FOLDER                              what is not delivered yet
#
# FOLDER/services, if it is there, are more lines of master.cf.
# FOLDER must be readable for everyone, as must the folders above it. FOLDER/log holds the SMTP dialogue (smtp -v).
set -euo pipefail
verb=$1 folder=$2
case $verb in
stop) exec postfix -c "$folder/etc" stop >/dev/null 2>&1 ;;
queue) exec postqueue -c "$folder/etc" -p ;;
start) port=$3 && shift 3 ;;
*) exit 64 ;;
esac

mkdir -p "$folder/etc" "$folder/spool" "$folder/data"
chmod 755 "$folder" "$folder/etc"
chown postfix "$folder/data"
cat >"$folder/etc/main.cf" <<X
compatibility_level = 3.6
queue_directory = $folder/spool
data_directory = $folder/data
maillog_file = $folder/log
maillog_file_prefixes = $folder
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = client.example.org
myorigin = client.example.org
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
mynetworks = 127.0.0.0/8
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtp_tls_loglevel = 1
smtp_sasl_security_options = noanonymous
smtp_sasl_mechanism_filter = plain, login
maximal_queue_lifetime = 1h
minimal_backoff_time = 300s
X
cat >"$folder/etc/master.cf" <<X
127.0.0.1:$port inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp -v
lmtp unix - - n - - lmtp -v
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
showq unix n - n - - showq
postlog unix-dgram n - n - 1 postlogd
X
[ ! -e "$folder/services" ] || cat "$folder/services" >>"$folder/etc/master.cf"
for parameter in "$@"; do
  # Not twice: every program would warn of it, and more warnings than postlogd's socket holds keep master from starting it.
  name=${parameter%%=*}
  sed -i "/^${name%% *} *=/d" "$folder/etc/main.cf"
  printf '%s\n' "$parameter" >>"$folder/etc/main.cf"
done
if ! postfix -c "$folder/etc" start >"$folder/start.log" 2>&1; then
  cat "$folder/start.log" "$folder/log" >&2 || true
  exit 1
fi
