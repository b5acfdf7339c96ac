#!/usr/bin/env bash
# Keeps one service running: supervise.sh NAME RUN_DIR LOG_FILE COMMAND…
# A service that dies is started again (after 0.2 s, then slower, up to 5 s); one that exits by
# itself with 0, or that was asked to stop through the supervisor, stays down.
set -u
name=$1 run_dir=$2 log=$3
shift 3

echo $$ >"$run_dir/$name.supervisor.pid"
child=
stopping=
stop() {
  stopping=yes
  [ -n "$child" ] && kill -TERM "$child" 2>/dev/null
}
trap stop TERM INT

delay_ms=200
while [ -z "$stopping" ]; do
  started=$(date +%s)
  "$@" >>"$log" 2>&1 &
  child=$!
  echo "$child" >"$run_dir/$name.pid"
  wait "$child"
  status=$?
  # wait returns early when a signal arrives; the child may still be draining.
  while kill -0 "$child" 2>/dev/null; do
    wait "$child"
    status=$?
  done
  rm -f "$run_dir/$name.pid"
  [ -n "$stopping" ] || [ "$status" = 0 ] && break
  [ $(($(date +%s) - started)) -gt 30 ] && delay_ms=200
  printf '{"level":"warning","msg":"service died","service":"%s","status":%d,"restart_in_ms":%d}\n' \
    "$name" "$status" "$delay_ms" >>"$log"
  sleep "$(printf '%d.%03d' $((delay_ms / 1000)) $((delay_ms % 1000)))"
  delay_ms=$((delay_ms * 2 > 5000 ? 5000 : delay_ms * 2))
done
rm -f "$run_dir/$name.supervisor.pid"
