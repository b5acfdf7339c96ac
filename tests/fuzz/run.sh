#!/usr/bin/env bash
# Runs every fuzz target for so many seconds: tests/fuzz/run.sh 60. Ends with counts.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:?usage: tests/fuzz/run.sh SECONDS}
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz --target fuzz
passed=0 failed=0
for target in build/fuzz/tests/fuzz/*_fuzz; do
  name=$(basename "$target")
  corpus=build/fuzz/corpus/$name
  mkdir -p "$corpus"
  seeds=tests/fuzz/seeds/${name%_fuzz}
  if "$target" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="build/fuzz/$name-" "$corpus" $([ -d "$seeds" ] && echo "$seeds") \
    >"build/fuzz/$name.log" 2>&1; then
    passed=$((passed + 1))
    echo "$name: $(grep -o 'number_of_executed_units: *[0-9]*' "build/fuzz/$name.log") in $seconds s"
  else
    failed=$((failed + 1))
    echo "$name FAILED:"
    tail -20 "build/fuzz/$name.log"
  fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
