#!/usr/bin/env bash
# Builds the images of deploy/containers with buildah, then starts them as a node of a cluster would, from
# the manifests of deploy/kubernetes, and uses them. Needs root, buildah, mmdebstrap, iproute2, openssl and a
# PostgreSQL server. No registry is asked: what the recipe starts FROM is made of Debian packages.
#   run.sh                  builds and checks
#   run.sh --no-build       checks what was built before
#   run.sh --cuda FOLDER    builds and starts the worker with CUDA too, with the toolkit in FOLDER
#   run.sh --state DIR      where images and containers are kept (build/containers)
# Further words go to buildah (--volume, --build-arg …).
set -euo pipefail

repo=$(cd "$(dirname "$0")/../.." && pwd)
state=$repo/build/containers
build=yes
cuda=
extra=()
while [ $# -gt 0 ]; do
  case $1 in
    --no-build) build= ;;
    --cuda) cuda=$(cd "$2" && pwd); shift ;;
    --state) state=$2; shift ;;
    -h | --help) sed -n '2,10p' "$0"; exit 0 ;;
    *) extra+=("$1") ;;
  esac
  shift
done
[ "$(id -u)" = 0 ] || { echo "run.sh: only root may make network namespaces and mounts" >&2; exit 2; }
for tool in buildah mmdebstrap ip unshare openssl; do
  command -v "$tool" >/dev/null || { echo "run.sh: $tool is missing" >&2; exit 2; }
done
mkdir -p "$state"
state=$(cd "$state" && pwd)
export BUILDAH_ISOLATION=chroot
# Images of its own, so that the stand-ins below are never taken for the real ones.
store=(--root "$state/storage" --runroot "$state/run")
version=$(sed -n 's/^project(conclave VERSION \([^ ]*\).*/\1/p' "$repo/CMakeLists.txt")

from_folder() {  # IMAGE TAR-OR-FOLDER TARGET
  local container
  container=$(buildah "${store[@]}" from scratch)
  buildah "${store[@]}" add -q "$container" "$2" "$3" >/dev/null
  buildah "${store[@]}" config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
  buildah "${store[@]}" commit -q --rm "$container" "$1" >/dev/null
}
has() { buildah "${store[@]}" inspect --type image "$1" >/dev/null 2>&1; }

image() {  # TARGET TAG
  echo "--- $2"
  buildah "${store[@]}" bud --layers --pull-never -f "$repo/deploy/containers/Dockerfile" --target "$1" \
    --build-arg COMMIT="$(git -C "$repo" rev-parse HEAD)" "${extra[@]}" -t "$2" "$repo"
}

if [ -n "$build" ]; then
  if ! has docker.io/library/debian:12; then
    # From where mmdebstrap takes Debian's releases by itself, updates included.
    mmdebstrap --variant=minbase bookworm "$state/base.tar"
    from_folder docker.io/library/debian:12 "$state/base.tar" /
    rm "$state/base.tar"
  fi
  buildah "${store[@]}" tag docker.io/library/debian:12 docker.io/library/debian:12-slim
  for target in gateway worker embed store; do
    image "$target" "conclave-$target:$version"
  done
  if [ -n "$cuda" ]; then
    has localhost/cuda-toolkit || from_folder localhost/cuda-toolkit "$cuda" /usr/local/cuda-13.0
    # One architecture: that the recipe works is what is to be seen.
    extra+=(--build-arg CUDA_IMAGE=localhost/cuda-toolkit --build-arg CUDA_ARCHITECTURES=90-real)
    image worker-cuda "conclave-worker:$version-cuda"
  fi
fi

python=$("$repo/tests/e2e/venv.sh")
check() {
  unshare --mount --net --propagation private "$python" "$repo/tests/deploy/check.py" --state "$state" "$@"
}
echo "--- the overlay dev"
check --overlay "$repo/deploy/kubernetes/overlays/dev"
echo "--- the overlay dev with TLS between services"
check --overlay "$repo/tests/deploy/overlay-tls"
if [ -n "$cuda" ]; then
  echo "--- the worker with CUDA, without a driver"
  check --overlay "$repo/deploy/kubernetes/overlays/gpu" --cuda
fi
echo "passed"
