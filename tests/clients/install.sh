#!/usr/bin/env bash
# Brings the mail clients and servers that tests/tests/clients, tests/tests/world and tests/acceptance.sh use to a Debian 12
# machine. Needs root.
#
#   tests/clients/install.sh [FOLDER]      FOLDER: target/clients of the repository
#
# Debian's packages of Postfix, Exim and OpenSMTPD exclude each other: Postfix is installed, the others are only unpacked
# below FOLDER; nats-server is installed there by nats.sh. No service is started and nothing outside FOLDER but packages and the system user Debian-exim is touched.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=${1:-$here/../../target/clients}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
export DEBIAN_FRONTEND=noninteractive

# Registries have bad minutes: a few tries, each after a longer wait.
again() {
  local try
  for try in 1 2 3 4; do
    "$@" </dev/null && return 0
    echo "install.sh: try $try of '$*' failed" >&2
    sleep $((try * 5))
  done
  return 1
}
apt() { again apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@"; }

# Packages of servers must not start them.
policy=/usr/sbin/policy-rc.d
made=
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  made=1
fi
done_with_policy() { [ -z "$made" ] || rm -f "$policy"; }
trap done_with_policy EXIT

apt update -q=2
apt install -y -q=2 --no-install-recommends \
  ca-certificates curl gcc libc6-dev python3-venv swaks libio-socket-ssl-perl libnet-ssleay-perl msmtp gsasl \
  postfix libsasl2-2 libsasl2-modules \
  libdb5.3 libgnutls30 libgnutls-dane0 libidn12 libidn2-0 libnsl2 libpcre2-8-0 \
  knot dovecot-lmtpd opendkim openssl libevent-2.1-7 libpam0g libssl3 zlib1g >/dev/null

if [ ! -x "$folder/exim/usr/sbin/exim4" ]; then
  mkdir -p "$folder/debs"
  chmod 755 "$folder/debs"
  (cd "$folder/debs" && apt download -q exim4-daemon-light >/dev/null 2>&1)
  dpkg -x "$folder"/debs/exim4-daemon-light_*.deb "$folder/exim"
fi
getent passwd Debian-exim >/dev/null ||
  adduser --system --group --force-badname --no-create-home --home /nonexistent --quiet Debian-exim 2>/dev/null

# A root folder for OpenSMTPD: its users, its spool and its socket have fixed names, so it runs below a copy of this.
if [ ! -x "$folder/opensmtpd/usr/sbin/smtpd" ]; then
  mkdir -p "$folder/debs"
  chmod 755 "$folder/debs"
  (cd "$folder/debs" && apt download -q opensmtpd >/dev/null 2>&1)
  rm -rf "$folder/opensmtpd.new"
  dpkg -x "$folder"/debs/opensmtpd_*.deb "$folder/opensmtpd.new"
  (
    cd "$folder/opensmtpd.new"
    rm -rf usr/share
    mkdir -p bin tmp var/run var/spool/smtpd var/lib/opensmtpd/empty
    chmod 711 var/spool/smtpd
    chmod 1777 tmp
    cp -L /bin/sh bin/sh
    gcc -shared -fPIC -O2 -Wall -Wextra -Werror -o openssl3.so "$here/../shim/openssl3.c"
    for program in bin/sh usr/sbin/smtpd usr/libexec/opensmtpd/mail.maildir; do ldd "$program"; done |
      grep -oE '/[^ ]+\.so[^ ]*' | sort -u | while read -r library; do
      mkdir -p ".$(dirname "$library")"
      cp -L "$library" ".$library"
    done
    printf 'root:x:0:0::/:/bin/sh\n' >etc/passwd
    printf 'root:x:0:\n' >etc/group
    id=64901
    for user in opensmtpd opensmtpq; do
      printf '%s:x:%s:%s::/var/lib/opensmtpd/empty:/bin/sh\n' "$user" "$id" "$id" >>etc/passwd
      printf '%s:x:%s:\n' "$user" "$id" >>etc/group
      id=$((id + 1))
    done
    echo opensmtpd.invalid >etc/mailname
  )
  mv "$folder/opensmtpd.new" "$folder/opensmtpd"
fi

if [ ! -d "$folder/node/node_modules/nodemailer" ]; then
  mkdir -p "$folder/node"
  (cd "$folder/node" && again npm install --silent --no-audit --no-fund --no-package-lock --prefix . nodemailer@10)
fi

if ! "$folder/venv/bin/python" -c 'import pytest, pytest_timeout, dkim, nacl, dns' 2>/dev/null; then
  again python3 -m venv "$folder/venv"
  again "$folder/venv/bin/pip" install --quiet --disable-pip-version-check pytest pytest-timeout 'dkimpy[ed25519]' dnspython
fi

again "$here/nats.sh" "$folder" >/dev/null

missing=
for program in curl swaks msmtp gsasl postfix sendmail node python3 knotd keymgr dovecot opendkim openssl; do
  command -v "$program" >/dev/null || missing="$missing $program"
done
"$folder/exim/usr/sbin/exim4" -C /dev/null -bV >/dev/null 2>&1 || missing="$missing exim4"
[[ "$(chroot "$folder/opensmtpd" /usr/sbin/smtpd -h 2>&1 || true)" == *OpenSMTPD* ]] || missing="$missing opensmtpd"
[ -z "$missing" ] || { echo "install.sh: still missing:$missing" >&2; exit 1; }
echo "install.sh: all clients and servers are there; Exim, OpenSMTPD, nodemailer and Python's modules below $folder"
