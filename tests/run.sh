#!/usr/bin/env bash
# The one test command: installs what is missing, builds, runs every test, closes with counts.
#   tests/run.sh                 everything that can run here
#   tests/run.sh --fast          unit and conformance tests only
#   tests/run.sh --asan|--tsan   the same binaries under a sanitizer (tsan: what runs no gRPC)
#   tests/run.sh --fuzz SECONDS  every fuzz target for that long
#   tests/run.sh --tidy          clang-tidy over our sources
set -euo pipefail

repo=$(cd "$(dirname "$0")/.." && pwd)
cd "$repo"
preset=dev
ctest_args=()
e2e=yes
fuzz_seconds=
tidy=
while [ $# -gt 0 ]; do
  case $1 in
    --fast) ctest_args+=(-L fast); e2e= ;;
    --asan) preset=asan; e2e= ;;
    --tsan) preset=tsan; e2e= ;;
    --fuzz) fuzz_seconds=$2; shift ;;
    --tidy) tidy=yes ;;
    -h | --help) sed -n '2,7p' "$0"; exit 0 ;;
    *) echo "run.sh: unknown option $1" >&2; exit 2 ;;
  esac
  shift
done

started=$(date +%s)
step() { printf '\n=== %ss: %s\n' "$(($(date +%s) - started))" "$*"; }

step "packages"
"$repo/deploy/local/install_deps.sh" "$([ -n "$tidy" ] && echo tidy || echo test)"

if [ -n "$fuzz_seconds" ]; then
  exec "$repo/tests/fuzz/run.sh" "$fuzz_seconds"
fi
if [ -n "$tidy" ]; then
  exec "$repo/tests/tidy/clang_tidy.sh"
fi

step "build ($preset)"
build_dir=$repo/build/$preset
log=$build_dir/build.log
mkdir -p "$build_dir"
# A compile of the larger files takes 1.5 GB: no more jobs than memory allows.
memory_jobs=$(($(awk '/MemAvailable/ {print $2}' /proc/meminfo) / 1500000))
jobs=$(nproc)
[ "$memory_jobs" -lt "$jobs" ] && jobs=$((memory_jobs > 0 ? memory_jobs : 1))
{ cmake --preset "$preset" && cmake --build --preset "$preset" -j "$jobs"; } >"$log" 2>&1 || {
  grep -E 'error|FAILED|warning' "$log" | head -40
  tail -20 "$log"
  echo "1 failed (the build)"
  exit 1
}

export CONCLAVE_MINILM_DIR=${CONCLAVE_MINILM_DIR:-$repo/.cache/all-MiniLM-L6-v2}
if [ "$preset" = dev ] && [ ! -f "$CONCLAVE_MINILM_DIR/config.json" ]; then
  step "embedding model"
  "$repo/deploy/models/fetch_minilm.sh" "$CONCLAVE_MINILM_DIR" ||
    echo "could not be had: the tests that need it are skipped by name"
fi

passed=0 failed=0 skipped=0
step "ctest ($preset)"
ctest_log=$build_dir/ctest.log
ctest --preset "$preset" --timeout 600 "${ctest_args[@]}" 2>&1 | tee "$ctest_log" || true
passed=$(grep -cE '^ *[0-9]+/[0-9]+ Test .* Passed ' "$ctest_log" || true)
skipped=$(grep -cE '^ *[0-9]+/[0-9]+ Test .*\*\*\*Skipped' "$ctest_log" || true)
total=$(grep -cE '^ *[0-9]+/[0-9]+ Test ' "$ctest_log" || true)
failed=$((total - passed - skipped))
[ "$total" -gt 0 ] || failed=1

if [ -n "$e2e" ]; then
  for requirements in "$repo"/tests/e2e/requirements*.txt; do
    family=$(basename "$requirements" .txt)
    family=${family#requirements}
    family=${family#-}
    step "end to end${family:+ ($family)}"
    e2e_log=$build_dir/e2e${family:+-$family}.log
    {
      python=$("$repo/tests/e2e/venv.sh" "$family") &&
        "$python" -m pytest "$repo/tests/e2e" -q -p no:cacheprovider --build-dir "$build_dir"
    } 2>&1 | tee "$e2e_log" || true
    count() { tail -1 "$e2e_log" | grep -oE "[0-9]+ $1" | grep -oE '[0-9]+' || echo 0; }
    passed=$((passed + $(count passed)))
    skipped=$((skipped + $(count skipped)))
    e2e_failed=$(($(count failed) + $(count error)))
    [ "$(count passed)" -gt 0 ] || e2e_failed=$((e2e_failed + 1))
    failed=$((failed + e2e_failed))
  done
fi

step "done"
grep -E '\*\*\*(Skipped|Failed|Timeout|Exception)' "$ctest_log" || true
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
