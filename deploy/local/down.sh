#!/usr/bin/env bash
# Stops what up.sh started: the gateway first, so that its streams end, PostgreSQL last. Data stays.
#   down.sh [--data DIR]
set -euo pipefail
source "$(dirname "$0")/lib.sh"

data=$(default_data_dir)
while [ $# -gt 0 ]; do
  case $1 in
    --data) data=$2; shift ;;
    -h | --help) echo "down.sh [--data DIR]"; exit 0 ;;
    *) echo "down.sh: unknown option $1" >&2; exit 2 ;;
  esac
  shift
done
[ -d "$data/run" ] || { echo "nothing runs in $data"; exit 0; }

for name in gateway store embed worker postgres; do
  file=$data/run/$name.supervisor.pid
  alive "$file" || continue
  echo "stopping $name"
  pid=$(cat "$file")
  kill -TERM "$pid" 2>/dev/null || true
  # PostgreSQL would wait for every client on SIGTERM; SIGINT is its fast shutdown.
  if [ "$name" = postgres ] && alive "$data/run/postgres.pid"; then
    kill -INT "$(cat "$data/run/postgres.pid")"
  fi
  # The supervisor removes the file as its last act; its process number may stay until init reaps it.
  for _ in $(seq 600); do
    alive "$file" || break
    sleep 0.1
  done
  if alive "$file"; then
    echo "$name did not drain within 60 s: killed" >&2
    [ -f "$data/run/$name.pid" ] && kill -KILL "$(cat "$data/run/$name.pid")" 2>/dev/null
    kill -KILL "$pid" 2>/dev/null || true
  fi
done
