#!/usr/bin/env bash
# From clone to a running mesh: installs what is missing, builds, starts PostgreSQL, the workers, the
# store and the gateway, waits until they are ready, and prints what to try.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

usage() {
  cat <<TXT
up.sh [--model PATH] [--port N] [--listen HOST] [--data DIR] [--no-build] [--build-dir DIR]

  --model PATH      a GGUF or a Hugging Face folder of your own instead of the small default model
  --port N          the gateway's HTTP port (8080)
  --listen HOST     the gateway's address (127.0.0.1); anything else needs --api-keys FILE
  --api-keys FILE   one API key per line
  --data DIR        database, logs, downloaded models ($(default_data_dir))
  --internal-port N first of the ports the services use among themselves (50051)
  --threads N       compute threads of the inference worker (all cores)
  --no-install      install no packages
  --no-build        start what is built already
  --build-dir DIR   where the binaries are (build/release)

Stop with down.sh; data stays.
TXT
}

data=$(default_data_dir)
model=
port=8080
listen=127.0.0.1
api_keys=
internal_port=50051
threads=
install=yes
build=yes
build_dir=$repo/build/release
while [ $# -gt 0 ]; do
  case $1 in
    --model) model=$2; shift ;;
    --port) port=$2; shift ;;
    --listen) listen=$2; shift ;;
    --api-keys) api_keys=$2; shift ;;
    --data) data=$2; shift ;;
    --internal-port) internal_port=$2; shift ;;
    --threads) threads=$2; shift ;;
    --no-install) install= ;;
    --no-build) build= ;;
    --build-dir) build_dir=$2; shift ;;
    -h | --help) usage; exit 0 ;;
    *) echo "up.sh: unknown option $1" >&2; usage >&2; exit 2 ;;
  esac
  shift
done

started=$(date +%s)
step() { printf '%5ss  %s\n' "$(($(date +%s) - started))" "$*"; }
fail() { echo "up.sh: $*" >&2; exit 1; }

[ -z "$model" ] || [ -f "$model" ] || [ -f "$model/config.json" ] ||
  fail "--model: neither a file nor a folder with a config.json: $model"

# --- packages and build -----------------------------------------------------------------------------
if [ -n "$install" ]; then
  step "packages"
  "$repo/deploy/local/install_deps.sh" run
fi
mkdir -p "$data"/{log,run,models}
data=$(cd "$data" && pwd)
targets=(conclave-gateway conclave-worker conclave-embed conclave-store)
if [ -n "$build" ]; then
  step "build (the first one takes minutes; log: $data/log/build.log)"
  {
    cmake -S "$repo" --preset release -DCONCLAVE_TESTS=OFF &&
      cmake --build "$build_dir" --target "${targets[@]}"
  } >"$data/log/build.log" 2>&1 || { tail -30 "$data/log/build.log" >&2; fail "the build failed"; }
fi
for target in "${targets[@]}"; do
  [ -x "$build_dir/bin/$target" ] || fail "$build_dir/bin/$target is missing; run without --no-build"
done

# --- models -----------------------------------------------------------------------------------------
if [ -z "$model" ]; then
  model=$repo/deploy/models/conclave-teacher.gguf
fi
model=$(cd "$(dirname "$model")" && pwd)/$(basename "$model")
model_name=$(basename "$model" .gguf)
embedding_dir=${CONCLAVE_MINILM_DIR:-$data/models/all-MiniLM-L6-v2}
if [ ! -f "$embedding_dir/config.json" ]; then
  step "embedding model (all-MiniLM-L6-v2)"
  "$repo/deploy/models/fetch_minilm.sh" "$embedding_dir" >"$data/log/fetch_minilm.log" 2>&1 ||
    echo "        could not be had (see $data/log/fetch_minilm.log): starting without embeddings"
fi

# --- PostgreSQL -------------------------------------------------------------------------------------
bin=$(pg_bin)
[ -n "$bin" ] && [ -x "$bin/initdb" ] || fail "no PostgreSQL server found"
mkdir -p "$data/postgres"
if [ "$(id -u)" = 0 ]; then
  chown postgres "$data/postgres"
fi
chmod 700 "$data/postgres"
if [ ! -f "$data/postgres/cluster/PG_VERSION" ]; then
  step "database cluster in $data/postgres"
  as_pg "$bin/initdb" -D "$data/postgres/cluster" -U conclave -A trust -E UTF8 --locale=C.UTF-8 \
    >"$data/log/initdb.log" 2>&1 || { tail "$data/log/initdb.log" >&2; fail "initdb failed"; }
fi
socket_dir=$data/postgres/s
as_pg mkdir -p "$socket_dir"
# The socket lies in a short path: the name of a unix socket has 107 bytes at most.
if [ ${#socket_dir} -gt 80 ]; then
  fail "--data: the path is too long for a unix socket: $data"
fi
# --- services ---------------------------------------------------------------------------------------
worker_port=$internal_port
embed_port=$((internal_port + 1))
store_port=$((internal_port + 2))
worker_probe=$((internal_port + 10))
embed_probe=$((internal_port + 11))
store_probe=$((internal_port + 12))

start() {  # NAME COMMAND…
  local name=$1
  shift
  alive "$data/run/$name.supervisor.pid" && return
  step "$name"
  setsid "$repo/deploy/local/supervise.sh" "$name" "$data/run" "$data/log/$name.log" "$@" \
    </dev/null >/dev/null 2>&1 &
}

wait_postgres() {
  local deadline=$(($(date +%s) + 60))
  until "$bin/pg_isready" -q -h "$socket_dir" -U conclave -d postgres; do
    [ "$(date +%s)" -lt "$deadline" ] || fail "PostgreSQL is not ready (log: $data/log/postgres.log)"
    sleep 0.1
  done
}

wait_ready() {  # NAME URL SECONDS
  local deadline=$(($(date +%s) + $3))
  until curl -fsS -m 2 -o /dev/null "$2" 2>/dev/null; do
    if [ "$(date +%s)" -ge "$deadline" ]; then
      tail -5 "$data/log/$1.log" >&2
      fail "$1 is not ready after $3 s (log: $data/log/$1.log)"
    fi
    sleep 0.1
  done
}

start postgres "${drop_privileges[@]}" "$bin/postgres" -D "$data/postgres/cluster" \
  -c listen_addresses='' -c unix_socket_directories="$socket_dir" -c max_connections=64
# shellcheck disable=SC2086  # CONCLAVE_WORKER_ARGS is a list of words
start worker "$build_dir/bin/conclave-worker" --listen "127.0.0.1:$worker_port" \
  --probe-listen "127.0.0.1:$worker_probe" --model "$model_name=$model" \
  --model-dir "$data/models" --blob-dir "$data/models/blobs" \
  ${threads:+--threads "$threads"} ${CONCLAVE_WORKER_ARGS:-}
embedding_worker=
if [ -f "$embedding_dir/config.json" ]; then
  embedding_worker=127.0.0.1:$embed_port
  start embed "$build_dir/bin/conclave-embed" --listen "$embedding_worker" \
    --probe-listen "127.0.0.1:$embed_probe" --model "$embedding_dir"
fi
# shellcheck disable=SC2086
start store "$build_dir/bin/conclave-store" --listen "127.0.0.1:$store_port" \
  --probe-listen "127.0.0.1:$store_probe" \
  --database "host=$socket_dir user=conclave dbname=postgres" \
  --inference-workers "127.0.0.1:$worker_port" ${CONCLAVE_STORE_ARGS:-}
# Who can reach a loopback listener owns this mesh, and may add and remove models.
admin=
[ "$listen" != 127.0.0.1 ] || admin=--admin-open
# shellcheck disable=SC2086
start gateway "$build_dir/bin/conclave-gateway" --listen "$listen:$port" \
  --inference-workers "127.0.0.1:$worker_port" ${embedding_worker:+--embedding-workers "$embedding_worker"} \
  --store "127.0.0.1:$store_port" ${api_keys:+--api-keys-file "$api_keys"} $admin \
  ${CONCLAVE_GATEWAY_ARGS:-}

wait_postgres
wait_ready worker "http://127.0.0.1:$worker_probe/readyz" 600
[ -z "$embedding_worker" ] || wait_ready embed "http://127.0.0.1:$embed_probe/readyz" 60
wait_ready store "http://127.0.0.1:$store_probe/readyz" 60
reach=$listen
[ "$reach" = 0.0.0.0 ] && reach=127.0.0.1
wait_ready gateway "http://$reach:$port/readyz" 60
step "ready"

url=http://$reach:$port
key=${api_keys:+$(head -1 "$api_keys")}
cat <<TXT

Conclave serves $model_name at $url

  curl $url/v1/chat/completions ${key:+-H "Authorization: Bearer $key" }-H 'Content-Type: application/json' -d '{
    "model": "$model_name", "stream": true, "temperature": 0,
    "messages": [{"role": "user", "content": "What is 37 + 45?"}]}'

  from openai import OpenAI
  client = OpenAI(base_url="$url/v1", api_key="${key:-none}")
  answer = client.chat.completions.create(model="$model_name",
      messages=[{"role": "user", "content": "What is 37 + 45?"}])
  print(answer.choices[0].message.content)

Ollama clients: OLLAMA_HOST=$url.  Logs: $data/log.  Stop: deploy/local/down.sh
TXT
[ -n "$embedding_worker" ] || echo "Embeddings are off: the embedding model could not be had."
