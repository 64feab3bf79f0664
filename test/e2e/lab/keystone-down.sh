#!/bin/bash
# Ends what keystone-up.sh started, by pid: all of it, or with --server-only just Keystone, whose state stays; --wipe removes LAB_DIR too.
set -eu
: "${LAB_DIR:?}"

# A zombie that nobody reaps has ended as well.
running() { [ -e "/proc/$1/stat" ] && ! grep -qs '^State:.Z' "/proc/$1/status"; }
end() { # NAME
  local file=$LAB_DIR/run/$1.pid pid
  [ -s "$file" ] || return 0
  pid=$(cat "$file")
  if running "$pid"; then
    kill -TERM "$pid" 2>/dev/null || true
    # A stopped process gets the signal when it goes on.
    kill -CONT "$pid" 2>/dev/null || true
    for _ in $(seq 100); do running "$pid" || break; sleep 0.05; done
    ! running "$pid" || kill -KILL "$pid" 2>/dev/null || true
  fi
  rm -f "$file"
}
end keystone
[ "${1:-}" = --server-only ] || end dbkeeper
if [ "${1:-}" = --wipe ]; then rm -rf "$LAB_DIR"; fi
