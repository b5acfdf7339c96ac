#!/usr/bin/env bash
# Builds what tests/gpu/run.sh needs and collects it in OUT_DIR, for a machine that has a GPU and its
# driver but none of our libraries: stripped programs, the CUDA module, the shared libraries they
# want beyond the C and C++ ones. Needs nvcc, no GPU.
#   tests/gpu/pack.sh OUT_DIR [cmake arguments, such as -DCMAKE_CUDA_ARCHITECTURES=90-real]
set -euo pipefail

if [ $# -lt 1 ]; then
  sed -n '2,5p' "$0" >&2
  exit 2
fi
repo=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
build=$repo/build/gpu
programs="conclave-gpu-check conclave-bench conclave-synth conclave-generate"

cmake --preset engine-only -S "$repo" -B "$build" -DCONCLAVE_CUDA=ON "$@" >"$build.log" 2>&1 || {
  tail -20 "$build.log"
  exit 1
}
# shellcheck disable=SC2086  # a list of words
ninja -C "$build" -j "$(nproc)" conclave_cuda $programs

rm -rf "$out/bin" "$out/lib"
mkdir -p "$out/bin" "$out/lib"
for program in $programs libconclave_cuda.so; do
  strip -o "$out/bin/$program" "$build/bin/$program"
done
# Those of the C and C++ runtimes are everywhere, and must be the machine's own.
for program in $programs; do
  ldd "$build/bin/$program"
done | awk '$3 ~ /^\// && $1 !~ /^lib(c|m|dl|rt|pthread|stdc\+\+|gcc_s)\.so/ {print $3}' | sort -u |
  while read -r library; do cp -L "$library" "$out/lib/"; done

echo "module needs: $(ldd "$out/bin/libconclave_cuda.so" | awk '{print $1}' | tr '\n' ' ')"
bytes=$(du -sb "$out" | cut -f1)
echo "$out: $((bytes >> 20)) MiB"
[ "$bytes" -lt $((55 << 20)) ]
