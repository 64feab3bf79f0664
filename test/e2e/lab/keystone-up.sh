#!/bin/bash
# Brings up a real OpenStack Keystone from Debian's packages on 127.0.0.1:KEYSTONE_PORT; everything it writes lies under LAB_DIR.
# Idempotent: what is prepared is kept, what runs is left alone. keystone-down.sh ends what this started, by pid.
#
#   LAB_DIR=DIR KEYSTONE_PORT=PORT ./keystone-up.sh [--expiration SECONDS] [--provider fernet|jws]
#                                                   [--notifications TRANSPORT_URL [--format basic|cadf] [--opt-out default|none]]
#                                                   [--cache HOST:PORT]
#
# Needs python3-keystone, uwsgi-core and uwsgi-plugin-python3; no memcached, no /etc files; a broker only for --notifications, which
# must be there when something happens: Keystone waits for it. --opt-out none: logins are told of too. --cache: a memcached of its own,
# as deployed (needs python3-memcache): a validation takes a tenth of the time. Login: admin/adminpass.
set -eu -o pipefail
PATH=/usr/sbin:/usr/bin:/sbin:/bin; export PATH
unset PYTHONPATH PYTHONHOME || true
: "${LAB_DIR:?}" "${KEYSTONE_PORT:?}"
export LAB_DIR
HERE=$(cd "$(dirname "$0")" && pwd)

EXPIRATION=3600 PROVIDER=fernet NOTIFICATIONS='' FORMAT=cadf OPT_OUT=default CACHE=''
while [ $# -gt 0 ]; do
  case $1 in
    --expiration) EXPIRATION=$2; shift 2 ;;
    --provider) PROVIDER=$2; shift 2 ;;
    --notifications) NOTIFICATIONS=$2; shift 2 ;;
    --format) FORMAT=$2; shift 2 ;;
    --opt-out) OPT_OUT=$2; shift 2 ;;
    --cache) CACHE=$2; shift 2 ;;
    *) echo "unknown argument: $1" >&2; exit 2 ;;
  esac
done
case $PROVIDER in fernet|jws) ;; *) echo "--provider is fernet or jws" >&2; exit 2 ;; esac
case $FORMAT in basic|cadf) ;; *) echo "--format is basic or cadf" >&2; exit 2 ;; esac
# As in an untouched Keystone nothing is published; a list option that opts out of one event that there is not opts out of none.
MESSAGING='driver = noop'
if [ -n "$NOTIFICATIONS" ]; then MESSAGING="driver = messagingv2
transport_url = $NOTIFICATIONS"; fi
if [ -n "$CACHE" ]; then BACKEND="backend = dogpile.cache.memcached
memcache_servers = $CACHE"; else BACKEND=''; fi
if [ "$OPT_OUT" = none ]; then OPTED_OUT='notification_opt_out = identity.nothing.at_all'; else OPTED_OUT=''; fi

# Where nobody reaps orphans an ended process stays as a zombie, which kill -0 takes for alive.
running() { [ -n "$1" ] && [ -e "/proc/$1/stat" ] && ! grep -qs '^State:.Z' "/proc/$1/status"; }
pid_of() { cat "$LAB_DIR/run/$1.pid" 2>/dev/null || true; }

umask 077
KS=$LAB_DIR/keystone
mkdir -p "$LAB_DIR/run" "$LAB_DIR/log" "$KS/fernet" "$KS/credential" "$KS/jws/private" "$KS/jws/public"

cat > "$KS/keystone.conf" <<CONF
[DEFAULT]
log_file = $LAB_DIR/log/keystone.log
public_endpoint = http://127.0.0.1:$KEYSTONE_PORT
notification_format = $FORMAT
default_publisher_id = lab
$OPTED_OUT
[database]
connection = sqlite:///$KS/keystone.db
[oslo_messaging_notifications]
$MESSAGING
[cache]
# With no backend nothing outlives a request, but within one request results are remembered: without it one validation costs some 480 SELECTs.
enabled = true
$BACKEND
[token]
provider = $PROVIDER
expiration = $EXPIRATION
[fernet_tokens]
key_repository = $KS/fernet
[fernet_receipts]
key_repository = $KS/fernet
[credential]
key_repository = $KS/credential
[jwt_tokens]
jws_public_key_repository = $KS/jws/public
jws_private_key_repository = $KS/jws/private
[identity]
password_hash_rounds = 4
[auth]
methods = password,token,application_credential,mapped,oauth1
[federation]
# What Apache's modules would tell of a login at an identity provider. Here request headers do: whoever reaches this port can be anyone.
remote_id_attribute = HTTP_X_FED_IDP
assertion_prefix = HTTP_X_FED_
[oslo_policy]
enforce_scope = false
enforce_new_defaults = false
CONF

km() { keystone-manage --config-file "$KS/keystone.conf" "$@" >>"$LAB_DIR/log/manage.log" 2>&1; }
if [ ! -e "$KS/.bootstrapped" ]; then
  # What fernet_setup and credential_setup would write, without their two seconds each.
  for repository in fernet credential; do
    for index in 0 1; do head -c 32 /dev/urandom | base64 | tr +/ -_ | tr -d '\n' > "$KS/$repository/$index"; done
  done
  # As create_jws_keypair writes them.
  /usr/bin/python3 - "$KS/jws" <<'PY'
import sys
from cryptography.hazmat.primitives import serialization as to
from cryptography.hazmat.primitives.asymmetric import ec
key, pem = ec.generate_private_key(ec.SECP256R1()), to.Encoding.PEM
with open(sys.argv[1] + '/private/private.pem', 'wb') as f:
    f.write(key.private_bytes(pem, to.PrivateFormat.PKCS8, to.NoEncryption()))
with open(sys.argv[1] + '/public/public.pem', 'wb') as f:
    f.write(key.public_key().public_bytes(pem, to.PublicFormat.SubjectPublicKeyInfo))
PY
  # Made first, in this mode: Keystone reads on one connection while it writes on another, without WAL that is "database is locked".
  /usr/bin/python3 -c 'import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute("PRAGMA journal_mode=WAL")' "$KS/keystone.db"
  km db_sync
  km bootstrap --bootstrap-username admin --bootstrap-password adminpass --bootstrap-project-name admin \
    --bootstrap-role-name admin --bootstrap-service-name keystone --bootstrap-region-id RegionOne \
    --bootstrap-public-url "http://127.0.0.1:$KEYSTONE_PORT/v3"
  touch "$KS/.bootstrapped"
fi

# One idle connection, so that the WAL files are not made and removed with every request.
if ! running "$(pid_of dbkeeper)"; then
  /usr/bin/python3 -c 'import sqlite3, sys, threading
c = sqlite3.connect(sys.argv[1]); c.execute("SELECT count(*) FROM user").fetchone(); threading.Event().wait()' \
    "$KS/keystone.db" </dev/null >"$LAB_DIR/log/dbkeeper.log" 2>&1 &
  echo $! > "$LAB_DIR/run/dbkeeper.pid"
fi

if ! running "$(pid_of keystone)"; then
  # "Connection: close" because uwsgi's http-socket keeps no connection open. The listen queue holds what waits for the two processes.
  OS_KEYSTONE_CONFIG_FILES=$KS/keystone.conf PYTHONDONTWRITEBYTECODE=1 uwsgi-core --plugin python3 --http-socket "127.0.0.1:$KEYSTONE_PORT" --wsgi-file "$HERE/keystone.wsgi.py" \
    --master --processes 2 --enable-threads --die-on-term --need-app --buffer-size 65535 --add-header "Connection: close" --disable-logging \
    </dev/null >"$LAB_DIR/log/uwsgi.log" 2>&1 &
  echo $! > "$LAB_DIR/run/keystone.pid"
fi

KEYSTONE_PID=$(pid_of keystone) exec /usr/bin/python3 - "http://127.0.0.1:$KEYSTONE_PORT/v3" <<'PY'
import os, sys, time, urllib.request
url, process, until = sys.argv[1], '/proc/%s/stat' % os.environ['KEYSTONE_PID'], time.monotonic() + 90
while True:
    try:
        urllib.request.urlopen(url, timeout=5).read()
        sys.exit(0)
    except OSError as error:
        ended = not os.path.exists(process) or ') Z ' in open(process).read()
        if ended or time.monotonic() > until:
            sys.exit('keystone did not answer at %s (%s): %s' % (url, 'it ended' if ended else 'timed out', error))
    time.sleep(0.05)
PY
