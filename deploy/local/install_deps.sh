#!/usr/bin/env bash
# Installs the Debian/Ubuntu packages that are missing; says nothing when there are none.
#   install_deps.sh build|run|test|tidy     build: compile; run: serve too; test: what the tests need besides;
#                                           tidy: clang-tidy too
set -euo pipefail

set_name=${1:-run}
packages=(
  clang-16 lld-16 libstdc++-12-dev cmake ninja-build ccache pkg-config
  libgrpc++-dev protobuf-compiler protobuf-compiler-grpc libprotobuf-dev libabsl-dev libre2-dev
  rapidjson-dev libpq-dev libssl-dev libcurl4-openssl-dev libnghttp2-dev zlib1g-dev libyaml-cpp-dev prometheus-cpp-dev
)
[ "$set_name" != build ] &&
  packages+=(postgresql curl python3 python3-venv python3-pip util-linux procps)
[[ $set_name = test || $set_name = tidy ]] && packages+=(catch2 libclang-rt-16-dev)
[ "$set_name" = tidy ] && packages+=(clang-tidy-16)

installed() { dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null | grep -q '^installed$'; }

missing=()
for package in "${packages[@]}"; do
  installed "$package" || missing+=("$package")
done
# Any Boost from 1.81 on will do; Debian 12's default is older, so it has a package of its own.
boost_ok=
for boost in libboost1.81-dev libboost1.83-dev libboost1.88-dev; do
  installed "$boost" && boost_ok=yes
done
[ -z "$boost_ok" ] && missing+=(boost)
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || {
    echo "These packages are missing and neither root nor sudo is at hand: ${missing[*]}" >&2
    exit 1
  }
  as_root=(sudo)
fi

echo "Installing ${#missing[@]} packages: ${missing[*]}"
log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
# A freshly installed server must not start a cluster of its own: ours lives in our data directory.
"${as_root[@]}" mkdir -p /etc/postgresql-common/createcluster.d
echo 'create_main_cluster = false' |
  "${as_root[@]}" tee /etc/postgresql-common/createcluster.d/conclave.conf >/dev/null
"${as_root[@]}" apt-get update -qq >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
for i in "${!missing[@]}"; do
  [ "${missing[i]}" = boost ] || continue
  for boost in libboost1.81-dev libboost1.83-dev libboost1.88-dev; do
    if apt-cache show "$boost" >/dev/null 2>&1; then
      missing[i]=$boost
      break
    fi
  done
done
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$log" 2>&1 || {
  tail -30 "$log" >&2
  exit 1
}
rm -f "$log"
