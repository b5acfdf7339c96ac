#!/bin/bash
# Runs a command with CONCLAVE_TEST_DSN naming a throw-away PostgreSQL cluster on a unix socket, and
# CONCLAVE_TEST_PG_CTL naming a script that does what pg_ctl does to it (stop, start, kill): tests
# take the database away with it. Works as root and as an ordinary user. Exit 77: no server here.
set -euo pipefail
bin=${CONCLAVE_PG_BIN:-$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)}
[ -n "$bin" ] && [ -x "$bin/initdb" ] || { echo "no PostgreSQL server found: skipped"; exit 77; }

dir=$(mktemp -d /tmp/cpg.XXXXXX)  # a socket's path must be shorter than 108 bytes
as=()
if [ "$(id -u)" = 0 ]; then
  chown postgres "$dir"
  as=(runuser -u postgres --)  # PostgreSQL refuses to run as root
fi

cat > "$dir/ctl" <<CTL
#!/bin/bash
# ctl stop | start | kill: an orderly stop, a start, kill -9 of the postmaster.
set -uo pipefail
cd "$dir"
as=(${as[@]+"${as[@]}"})
case "\$1" in
  stop) \${as[@]+"\${as[@]}"} "$bin/pg_ctl" -D "$dir/d" -m fast -w stop >/dev/null ;;
  kill) kill -9 "\$(head -1 "$dir/d/postmaster.pid")" ;;
  start)
    # After a kill the old children need a moment to notice; PostgreSQL refuses until then.
    for _ in \$(seq 50); do
      \${as[@]+"\${as[@]}"} "$bin/pg_ctl" -D "$dir/d" -w -t 20 -l "$dir/log" start >/dev/null 2>&1 && exit 0
      sleep 0.2
    done
    exit 1 ;;
esac
CTL
chmod 755 "$dir/ctl"

stop() {
  (cd "$dir" && ${as[@]+"${as[@]}"} "$bin/pg_ctl" -D "$dir/d" -m immediate stop >/dev/null 2>&1) || true
  rm -rf "$dir"
}
trap stop EXIT

(cd "$dir" && ${as[@]+"${as[@]}"} "$bin/initdb" -D "$dir/d" -U conclave -A trust -E UTF8 \
  --locale=C.UTF-8 --no-sync >/dev/null)
# Settings in the file, so that a restart has them too. fsync off: the machine does not go down here.
cat > "$dir/settings" <<SETTINGS
listen_addresses = ''
unix_socket_directories = '$dir'
fsync = off
full_page_writes = off
shared_buffers = 32MB
max_connections = 100
SETTINGS
cat "$dir/settings" >> "$dir/d/postgresql.conf"
"$dir/ctl" start
export CONCLAVE_TEST_DSN="host=$dir user=conclave dbname=postgres"
export CONCLAVE_TEST_PG_CTL="$dir/ctl"
"$@"
