#!/usr/bin/env bash
# Exim as a client, without a daemon: takes one SMTP session (commands and message) from standard input, as `exim -bs` does,
# then delivers what it queued in the foreground. Needs root; Exim itself works as Debian-exim.
#
#   exim.sh EXIM FOLDER PORT [OPTION ...]     OPTION: a line of the smtp transport, such as "hosts_require_tls = *"
#
# Environment: EXIM_USER, EXIM_PASSWORD: log in with them. FOLDER must be readable for everyone, as must the folders above it.
# Prints Exim's log of the delivery with the SMTP dialogue; fails when anything is still queued.
set -euo pipefail
exim=$1 folder=$2 port=$3
shift 3
mkdir -p "$folder/spool" "$folder/log"
chmod 755 "$folder"
chown Debian-exim:Debian-exim "$folder/spool" "$folder/log"
{
  cat <<X
primary_hostname = client.example.org
exim_path = $exim
exim_user = Debian-exim
exim_group = Debian-exim
spool_directory = $folder/spool
log_file_path = $folder/log/%slog
log_selector = +all
keep_environment =
deliver_drop_privilege
trusted_users = root
host_lookup =
rfc1413_hosts =
tls_advertise_hosts =
dsn_advertise_hosts = :
chunking_advertise_hosts = :
smtputf8_advertise_hosts = *
ignore_bounce_errors_after = 0s
acl_smtp_rcpt = accept
acl_smtp_data = accept
begin routers
all:
  driver = manualroute
  transport = out
  route_list = * 127.0.0.1 byname
  self = send
begin transports
out:
  driver = smtp
  port = $port
  helo_data = client.example.org
  tls_try_verify_hosts =
  tls_verify_certificates =
  hosts_noproxy_tls = *
X
  for option in "$@"; do printf '  %s\n' "$option"; done
  cat <<X
begin retry
* * F,1h,1m
begin authenticators
X
  if [ -n "${EXIM_USER:-}" ]; then
    printf 'plain:\n  driver = plaintext\n  public_name = PLAIN\n  client_send = ^%s^%s\n' "$EXIM_USER" "$EXIM_PASSWORD"
  fi
} >"$folder/exim.conf"
"$exim" -C "$folder/exim.conf" -odq -bs
"$exim" -C "$folder/exim.conf" -v -qff 2>&1
left=$("$exim" -C "$folder/exim.conf" -bpc)
if [ "$left" != 0 ]; then
  echo "exim.sh: $left messages are still queued" >&2
  cat "$folder"/log/* >&2
  exit 1
fi
