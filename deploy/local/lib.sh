# Shared by up.sh and down.sh: where things are and how PostgreSQL is run. Sourced, not run.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

default_data_dir() {
  if [ -n "${CONCLAVE_DATA:-}" ]; then
    echo "$CONCLAVE_DATA"
  elif [ "$(id -u)" = 0 ]; then
    # PostgreSQL refuses to run as root and cannot enter root's home.
    echo /var/lib/conclave
  else
    echo "${XDG_DATA_HOME:-$HOME/.local/share}/conclave"
  fi
}

pg_bin() {
  if [ -n "${CONCLAVE_PG_BIN:-}" ]; then
    echo "$CONCLAVE_PG_BIN"
  else
    ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1
  fi
}

# Runs a command as the user that owns the cluster.
as_pg() {
  if [ "$(id -u)" = 0 ]; then
    (cd "$data/postgres" && runuser -u postgres -- "$@")
  else
    (cd "$data/postgres" && "$@")
  fi
}

# In front of the server's own command line: becomes the cluster's owner without a process in between,
# so that signals reach PostgreSQL itself.
drop_privileges=()
if [ "$(id -u)" = 0 ]; then
  drop_privileges=(setpriv --reuid postgres --regid postgres --init-groups)
fi

alive() { [ -f "$1" ] && { kill -0 "$(cat "$1")"; } 2>/dev/null; }
